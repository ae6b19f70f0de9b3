"""What this node shared of its data, with which jobs: from its own records, so for as long as it has them."""

from __future__ import annotations

from muster.job.sharing.publisher import noted
from muster.node.api.snapshot import SharedView
from muster.node.core import Core
from muster.protocol.ids import JobId
from muster.protocol.records import Job, Shared


def shared_views(core: Core) -> list[SharedView]:
    """Oldest first; samples that were made again the same are one."""
    found: dict[tuple[JobId, bytes], SharedView] = {}
    for entry in core.ledger.load(Shared.KIND):
        record = entry.record
        if entry.author == core.node and isinstance(record, Shared) and record.payload.blob is not None:
            found[record.job, record.payload.blob] = _view(core, record)
    return list(found.values())


def _view(core: Core, record: Shared) -> SharedView:
    blob = record.payload.blob or b""
    stored = core.store.get(record.job)
    entry = core.ledger.entry_of(stored) if stored is not None else None
    note = noted(core.store, record.job, blob)
    return SharedView(
        job=record.job.hex(),
        task=entry.record.task if entry is not None and isinstance(entry.record, Job) else "?",
        asker=core.trust.name(entry.author) if entry is not None else "?",
        kind=record.kind,
        samples=record.samples,
        stands_for=record.stands_for,
        bytes=record.payload.size_bytes,
        bits=note.bits if note is not None else None,
        at_s=note.at_s if note is not None else None,
        held=core.store.has_blob(blob),
    )
