"""Tables of constants: which loop reacts to which record, and the limits of the protocol."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from generators.markdown import table


def reactions() -> str:
    """Which loop may have something to do when a record of some kind comes."""
    from muster.job.reactions import REACTIONS

    loops = list(dict.fromkeys(loop for found in REACTIONS.values() for loop in found))
    rows = [(kind, *("x" if loop in found else "" for loop in loops)) for kind, found in REACTIONS.items()]
    return table(("record", *loops), rows)


def _kib(size_bytes: int) -> str:
    for unit, name in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:g} {name}"
    return f"{size_bytes} bytes"


def _plain(count: float) -> str:
    return f"{count:,.0f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:g} s"


LIMITS: tuple[tuple[str, str, str, Callable[[int], str]], ...] = (
    ("a record", "protocol.records", "RECORD_BYTES_MAX", _kib),
    ("a payload inside its record", "protocol.records", "INLINE_BYTES_MAX", _kib),
    ("the same, of an update", "protocol.records", "UPDATE_INLINE_BYTES_MAX", _kib),
    ("a nudge", "network.transport.zenoh.messages", "NUDGE_BYTES_MAX", _kib),
    ("an answer", "network.transport.zenoh.messages", "ANSWER_BYTES_MAX", _kib),
    ("a message of the engine", "network.transport.zenoh.config", "MESSAGE_BYTES_MAX", _kib),
    ("links at once", "network.transport.zenoh.config", "SESSIONS_MAX", _plain),
    ("requests that wait for one neighbour", "network.transport.zenoh.sending", "ASKS_MAX", _plain),
    ("requests of one neighbour in work", "network.transport.zenoh.server", "SERVED_MAX", _plain),
    ("records named in one comparison", "network.sync.messages", "CHANGES_MAX", _plain),
    ("records asked for at once", "network.sync.messages", "RECORDS_MAX", _plain),
    ("nodes remembered by heartbeat", "network.sync.presence", "HEARTBEATS_MAX", _plain),
    ("a blob", "network.blobs.chunk_messages", "BLOB_BYTES_MAX", _kib),
    ("data of one chunk answer", "network.blobs.chunk_messages", "ANSWER_BYTES_MAX", _kib),
    ("hops that a blob is asked through", "network.blobs.chunk_messages", "HOPS_MAX", _plain),
    ("members of a fleet", "network.trust.signing", "MEMBERS_MAX", _plain),
    ("revocations of a fleet", "network.trust.signing", "REVOKED_MAX", _plain),
    ("a certificate", "network.trust.certificates", "CERTIFICATE_BYTES_MAX", _kib),
    (
        "jobs in a node's memory; others are in its store",
        "job.retirement.retired",
        "IN_MEMORY_MAX",
        _plain,
    ),
    ("rounds of a job", "job.stop_rule", "ROUNDS_MAX", _plain),
    ("further plans on one parent by one coordinator", "job.coordinator.rounds", "REPLACED_MAX", _plain),
    ("commits in a chain of deltas", "job.models.delta_path", "CHAIN_MAX", _plain),
    ("merges in it", "job.models.delta_path", "MERGES_MAX", _plain),
    ("payloads of updates fetched at once", "job.models.job_fetcher", "PAYLOADS_MAX", _plain),
    ("restarts of a trainer without an update between", "job.session", "RESTARTS_MAX", _plain),
    ("a trainer that neither gets on nor computes", "node.trainer.liveness", "STALL_S", _seconds),
    ("tensors of a model", "compression.tensors", "TENSORS_MAX", _plain),
    ("weights of a model", "compression.codec", "SIZE_MAX", _plain),
)


def limits() -> str:
    """The protocol's limits, with the constants that hold them."""
    rows = []
    for what, module, name, show in LIMITS:
        value = getattr(importlib.import_module(f"muster.{module}"), name)
        rows.append((what, show(value), f"`{name}` in `{module.replace('.', '/')}.py`"))
    return table(("what", "at most", "constant"), rows)
