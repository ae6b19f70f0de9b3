"""How much a node shares with a job, and how much it counts: pure functions of what is on record."""

from __future__ import annotations

from collections.abc import Callable

from muster.job.view import JobView
from muster.protocol.ids import BlobId, NodeId
from muster.protocol.parts import Payload
from muster.protocol.records import Job, Shared

SHARE_BYTES = 10_000  # of one node, where the job does not say: some 400 images of a bit a pixel
LENT_BYTES_MAX = 4_000_000  # of the asker, whose helpers train on nothing else
SHARE_BYTES_MIN = 100  # less holds no sample
FAILURES_MAX = 2  # of a trainer over the same samples: by then it is them
BUDGET_PART = 0.25  # of a job's bytes that all shared samples together may take


def limit_bytes(job: Job, *, lends: bool = False) -> int:
    """What the samples of one node may take in a job; larger ones are neither fetched nor trained on.

    `lends`: of its asker, to whom others may lend their power.
    """
    return job.share_bytes or (LENT_BYTES_MAX if lends else SHARE_BYTES)


def room_bytes(view: JobView, wanted: int | None = None) -> int:
    """What a node's samples may take now: within the job's limit, and a part of its budgets of bytes.

    `wanted`: by helpers of the asker, whose samples these are.
    """
    stop, room = view.job.stop, limit_bytes(view.job)
    if wanted is not None:
        room = min(wanted, limit_bytes(view.job, lends=True))
    nodes = max(1, len(view.offers), view.job.min_nodes)
    for budget in (stop.bytes_node, None if stop.bytes is None else stop.bytes / nodes):
        if budget is not None:
            room = min(room, int(BUDGET_PART * budget))
    return room


def usable(view: JobView, revoked: Callable[[NodeId], bool]) -> dict[NodeId, Shared]:
    """The shared samples that a job may use, by node: the newest of each, none of nodes that were revoked,
    and none that were refused here."""
    refused = {blob for blob, fault in view.seen_samples.items() if fault}

    def fits(node: NodeId, payload: Payload) -> bool:
        return payload.size_bytes <= limit_bytes(view.job, lends=node == view.asker)

    return {
        node: record
        for node, record in view.shared.items()
        if fits(node, record.payload) and record.payload.blob not in refused and not revoked(node)
    }


def ready(
    view: JobView, revoked: Callable[[NodeId], bool], held: Callable[[Payload], bool]
) -> dict[NodeId, Shared]:
    """Those that may be trained on here now: they are `held`, fit this node's task, and no trainer failed
    over them as often as `FAILURES_MAX`."""
    return {
        node: record
        for node, record in usable(view, revoked).items()
        if (blob := record.payload.blob) is not None
        and view.seen_samples.get(blob) == ""
        and view.sample_failures[blob] < FAILURES_MAX
        and held(record.payload)
    }


def has_data(view: JobView, node: NodeId) -> bool:
    """Whether a node has data of its own to train on, as it offered."""
    offer = view.offers.get(node)
    return offer is None or offer.samples > 0


def stands_for(view: JobView, node: NodeId) -> int:
    """The weight, in samples, of what is trained on a node's shared samples: never above what it offered."""
    record, offer = view.shared.get(node), view.offers.get(node)
    if record is None or offer is None:
        return 0
    return min(record.stands_for, offer.samples)


def named(view: JobView) -> set[BlobId]:
    """The blobs of all samples that were ever shared with a job."""
    return view.outdated_samples | {
        r.payload.blob for r in view.shared.values() if r.payload.blob is not None
    }
