"""What the records say of a served task: to whom the same happened, which jobs concern this node, and which
models went out of use again where conditions are alike."""

from __future__ import annotations

import contextlib

from muster.adaptation.likeness import alike, distance
from muster.job.runner import JobRunner
from muster.node.core import Core
from muster.node.field.situation import LikeJob, LikeNode
from muster.protocol.ids import CommitId, JobId, NodeId
from muster.protocol.records import Job, Need

JOBS_MAX = 64  # of those that are in the store only, that are looked at


class Among:
    """The newest needs and uses of all nodes, and adapt jobs, of one task."""

    def __init__(self, core: Core, task: str) -> None:
        self._core, self._task = core, task
        self._ended: dict[JobId, LikeJob] = {}  # what does not change any more
        self._others: dict[JobId, None] = {}  # jobs in the store that are none of these

    def own_need(self) -> Need | None:
        """The newest of this node."""
        return self._core.field.need(self._core.node, self._task)

    def like(self, own: Need) -> tuple[LikeNode, ...]:
        """Other nodes in reach with an open need that is like this one."""
        name = self._core.trust.name
        return tuple(
            LikeNode(node, name(node), distance(own.sketch, need.sketch))
            for node, need in sorted(self._core.field.needs(self._task).items())
            if node != self._core.node
            and not need.over
            and need.fingerprint == own.fingerprint
            and alike(own.sketch, need.sketch)
            and self._in_reach(node)
        )

    def _in_reach(self, node: NodeId) -> bool:
        return self._core.heard_lately(node) or node in self._core.link.neighbours()

    def returned(self, own: Need | None) -> set[CommitId]:
        """Commits that this node, or one that is alike, has put out of use again."""
        needs = self._core.field.needs(self._task)
        return {
            use.former
            for node, use in self._core.field.uses(self._task).items()
            if use.reason == "returned" and use.former and self._speaks_for(node, own, needs.get(node))
        }

    def _speaks_for(self, node: NodeId, own: Need | None, other: Need | None) -> bool:
        if node == self._core.node:
            return True
        return own is not None and other is not None and alike(own.sketch, other.sketch)

    async def jobs(self, own: Need, used: CommitId = b"") -> tuple[LikeJob, ...]:
        """Adapt jobs that are like this need, or its own, in the order in which they came. `used`: the commit
        whose model is in use here."""
        await self._load_some(own)
        runners = self._core.jobs.runners
        for job, runner in runners.items():
            if self._concerns(runner.view.job, runner.view.asker, own):
                found = self._state(job, runner, used)
                if found.over:
                    self._ended[job] = found
        going_on = [
            self._state(job, runner, used)
            for job, runner in runners.items()
            if job not in self._ended and self._concerns(runner.view.job, runner.view.asker, own)
        ]
        return (*self._ended.values(), *going_on)

    def asked(self, own: Need) -> dict[JobId, str]:
        """Who asked for each of the jobs in memory that are like this need."""
        return {
            job: self._core.trust.name(runner.view.asker)
            for job, runner in self._core.jobs.runners.items()
            if self._concerns(runner.view.job, runner.view.asker, own)
        }

    async def _load_some(self, own: Need) -> None:
        """Know what came of jobs that are in the store only."""
        for job in self._core.jobs.retired()[-JOBS_MAX:]:
            if job in self._ended or job in self._others:
                continue
            stored = self._core.store.get(job)
            entry = self._core.ledger.entry_of(stored) if stored is not None else None
            if entry is None or not isinstance(entry.record, Job):
                continue
            if not self._concerns(entry.record, entry.author, own):
                self._others[job] = None
                continue
            with contextlib.suppress(KeyError):  # it cannot be read now
                await self._core.jobs.load(job)

    def _concerns(self, job: Job, asker: NodeId, own: Need) -> bool:
        if job.task != self._task or job.fingerprint != own.fingerprint or not job.like:
            return False
        return asker == self._core.node or alike(job.like, own.sketch)

    def _state(self, job: JobId, runner: JobRunner, used: CommitId) -> LikeJob:
        state, head = runner.state(), runner.head()
        over = state in ("finished", "stopped")
        result = head.id if over and head is not None and head.round > 0 else None
        asker, graph = runner.view.asker, runner.view.graph
        merged = False
        if result is not None and result != used and used in graph.points:
            merged = bool(graph.only(result, used)) and not graph.only(used, result)
        own = asker == self._core.node
        return LikeJob(job, self._core.trust.name(asker), own, over, result, merged=merged)

    def forget(self) -> None:
        """Conditions changed: other jobs may concern this node."""
        self._ended.clear()
        self._others.clear()
