"""Jobs that a node keeps in its store only: listed from what was noted when they left memory."""

from __future__ import annotations

from muster.job.retirement import retired
from muster.node.api.snapshot import StoredJobView
from muster.node.core import Core
from muster.protocol.ids import JobId
from muster.protocol.records import Job

PAGE_MAX = 200  # jobs in one answer: some milliseconds


def stored_jobs(core: Core, skip: int, limit: int) -> list[StoredJobView]:
    """At most `limit` of them, oldest first, without the newest `skip`."""
    jobs = core.jobs.retired()
    end = max(0, len(jobs) - max(0, skip))
    return [_view(core, job) for job in jobs[max(0, end - min(PAGE_MAX, max(0, limit))) : end]]


def _view(core: Core, job: JobId) -> StoredJobView:
    known = retired.load(core.store, job)
    if known is not None:
        return StoredJobView(
            job.hex(), known.task, core.trust.name(known.asker), known.state, known.why, known.round,
            known.rounds, known.metric, known.figure, known.age_s, known.spent_bytes,
            known.adapts,
        )  # fmt: skip
    stored = core.store.get(job)
    entry = core.ledger.entry_of(stored) if stored is not None else None
    record = entry.record if entry is not None else None
    task = record.task if isinstance(record, Job) else "?"
    asker = core.trust.name(entry.author) if entry is not None else "?"
    return StoredJobView(
        job.hex(), task, asker, "waiting", "waits until there is room for it here",
        adapts=isinstance(record, Job) and bool(record.like),
    )  # fmt: skip
