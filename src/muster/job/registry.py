"""Keeps the jobs that a node knows: one view and one runner each, fed from the ledger."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from muster.job.context import Context
from muster.job.forwarding import JobForwarding
from muster.job.models.blob_hints import BlobHints
from muster.job.view import JobView
from muster.network.sync.ledger import Entry
from muster.protocol.records import BlobId, Job, JobId, short

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

JOBS_MAX = 64  # kept in memory; older ones are in the store
REPORTED_MAX = 16  # commits of a job that are named because they are left out
EARLY_MAX = 4096  # records that came before their job's own
# The loops that react to each kind of record: a table for readers (docs/architecture.md is made from it).
# Only its keys are used here, as the kinds of record that belong to a job.  A record is absorbed into its
# job's view, and then every loop of the node's jobs looks again (`Context.changes`); those named here may
# have something to do.  The kinds stand in the order in which they are loaded from the store.  A job's own
# record starts its loops.
#   follow       JobRunner._follow: fetch models and payloads, collect garbage
#   coordinate   Coordinator.run: merge, plan, commit, close
#   work         JobRunner._work: run a trainer session while the job goes on; in a session:
#   train        Participant.run: train what a plan asks, publish the update
#   evaluate     HeadEvaluator.run: measure heads, choose the closing commit
#   contribute   ContributionEstimator.run: estimate what updates were worth
REACTIONS = {
    "commit": ("follow", "coordinate", "work", "train", "evaluate", "contribute"),
    "merge": ("follow", "coordinate", "work", "train", "evaluate"),
    "offer": ("follow", "coordinate"),
    "refusal": ("follow", "coordinate"),
    "plan": ("coordinate", "train", "evaluate", "contribute"),
    "update": ("follow", "coordinate", "evaluate"),
    "measurement": ("coordinate", "work", "train", "evaluate"),
    "contribution": ("follow", "contribute"),
    "stop": ("coordinate", "work", "train", "evaluate"),
}


class JobRegistry:
    """Opens a runner for each job, and gives it the job's records as they come."""

    def __init__(self, context: Context, hints: BlobHints, forwarding: JobForwarding) -> None:
        """`hints` learns from where blobs may be had, `forwarding` which jobs there are."""
        self._context, self._hints, self._forwarding = context, hints, forwarding
        self.runners: dict[JobId, JobRunner] = {}
        self._tasks: dict[JobId, asyncio.Task[None]] = {}
        self._early: dict[JobId, list[Entry]] = {}
        self._early_count = 0
        self._slot = asyncio.Lock()
        self._loading = False
        self._reported: dict[JobId, int] = {}  # commits that are left out, as far as they were named

    def start(self) -> None:
        """Load what the store has, then listen."""
        self._loading = True
        for entry in self._context.ledger.load(Job.KIND):
            self._on_record(entry)
            for kind in REACTIONS:
                for known in self._context.ledger.load(kind, entry.id):
                    self._on_record(known)
        self._loading = False
        self._context.ledger.listeners.append(self._on_record)

    async def close(self) -> None:
        """End the loops of all jobs."""
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
            self._context, view, self._slot,
            fresh=fresh, needed_by_others=lambda: self._needed_besides(entry.id),
        )  # fmt: skip
        self.runners[entry.id] = runner
        self._forwarding.add(view, runner.models)
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

    def _needed_besides(self, job: JobId) -> set[BlobId]:
        """Blobs that the other jobs of this node cannot do without."""
        return set().union(*(runner.needs() for j, runner in self.runners.items() if j != job))

    def _ended(self, job: JobId, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.runners[job].failed(f"internal fault: {error}")
            self._context.event("error", f"internal fault in a job: {error!r}", job=job)
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a job's runner ended", "exception": error}
            )

    def _absorb(self, runner: JobRunner, entry: Entry) -> None:
        self._hints.learn(entry)
        runner.view.absorb(entry)
        self._report_refused(runner)
        self._context.transfers.poke()
        self._context.changes.notify()

    def _report_refused(self, runner: JobRunner) -> None:
        """Name commits that are left out of a job's history, once each."""
        refused = runner.view.graph.refused
        for commit in list(refused)[self._reported.get(runner.view.id, 0) : REPORTED_MAX]:
            text = f"the commit {short(commit)} is left out: {refused[commit]}"
            self._context.event("error", text, job=runner.view.id)
        self._reported[runner.view.id] = len(refused)
