"""All jobs that a node knows: one view and one runner each, fed from the ledger."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from muster.job.context import Context
from muster.job.known_jobs import KnownJobs
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.records import BlobId, Commit, Job, JobId, Payload, Update

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

JOBS_MAX = 64  # kept in memory; older ones are in the store
EARLY_MAX = 4096  # records that came before their job's own
OF_A_JOB = (  # kinds of records, in the order in which they are loaded
    "commit", "merge", "offer", "refusal", "plan", "update", "measurement", "contribution", "stop",
)  # fmt: skip


class JobRegistry:
    """Opens a job when its record comes, and gives each record to its job."""

    def __init__(self, context: Context, known: KnownJobs) -> None:
        self._context, self._known = context, known
        self.runners = known.runners
        self._tasks: dict[JobId, asyncio.Task[None]] = {}
        self._early: dict[JobId, list[Entry]] = {}
        self._early_count = 0
        self._slot = asyncio.Lock()
        self._loading = False

    def start(self) -> None:
        """Load what the store has, then listen."""
        self._loading = True
        for entry in self._context.ledger.load(Job.KIND):
            self._on_record(entry)
            for kind in OF_A_JOB:
                for known in self._context.ledger.load(kind, entry.id):
                    self._on_record(known)
        self._loading = False
        self._context.ledger.listeners.append(self._on_record)

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def find(self, prefix: str) -> list[JobRunner]:
        """Jobs whose id begins with the hex digits `prefix`."""
        return [r for j, r in self.runners.items() if j.hex().startswith(prefix.lower())]

    def _on_record(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, Job):
            if entry.id not in self.runners and len(self.runners) < JOBS_MAX:
                self._open(entry, record)
            return
        job: JobId = getattr(record, "job", b"")
        if not job:
            return
        runner = self.runners.get(job)
        if runner is None:
            if self._early_count < EARLY_MAX:
                self._early.setdefault(job, []).append(entry)
                self._early_count += 1
            return
        self._absorb(runner, entry)

    def _open(self, entry: Entry, record: Job) -> None:
        from muster.job.runner import JobRunner  # with numpy, which an idle daemon does without

        view = JobView(entry.id, record, entry.author)
        fresh = entry.source == b"" and not self._loading
        runner = JobRunner(
            self._context, view, self._slot, fresh=fresh, needed_by_others=self._needed_besides
        )
        self.runners[entry.id] = runner
        early = self._early.pop(entry.id, [])
        self._early_count -= len(early)
        for known in early:
            self._absorb(runner, known)
        self._context.event(
            "job", f"{self._context.name_of(entry.author)} asks for help with {record.task}", job=entry.id
        )
        self._context.publish_status_now()
        self._tasks[entry.id] = asyncio.get_running_loop().create_task(runner.run())
        self._tasks[entry.id].add_done_callback(lambda task: self._ended(entry.id, task))

    def _needed_besides(self, one: JobRunner) -> set[BlobId]:
        return set().union(*(runner.needs() for runner in self.runners.values() if runner is not one))

    def _ended(self, job: JobId, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.runners[job].error = f"internal fault: {error}"
            self._context.event("error", f"internal fault in a job: {error!r}", job=job)
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a job's runner ended", "exception": error}
            )

    def _absorb(self, runner: JobRunner, entry: Entry) -> None:
        record = entry.record
        if entry.source:
            for blob in _blobs(record):
                self._known.sources[blob] = entry.source
        runner.view.absorb(entry)
        self._context.transfers.poke()
        self._context.changes.notify()


def _blobs(record: object) -> list[BlobId]:
    payload: Payload | None = None
    blobs: list[BlobId] = []
    if isinstance(record, Update):
        payload = record.payload
    elif isinstance(record, Commit):
        payload = record.delta
        blobs.append(record.params)
    if payload is not None and payload.blob is not None:
        blobs.append(payload.blob)
    return blobs
