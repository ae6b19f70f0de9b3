"""Runs one job on one node: three loops over one view.

Each loop looks at the state, does what is due and waits for a change (`registry.REACTIONS` says which loop
reacts to what).  Following and coordinating go on after the job has ended, so that a branch that comes home
late is still merged; the trainer child lives only while there is work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from muster.history.graph import Point
from muster.job.collector import GarbageCollector
from muster.job.context import Context
from muster.job.contribution_totals import ContributionTotals
from muster.job.coordinator.commit_writer import CommitWriter
from muster.job.coordinator.contribution_estimator import ContributionEstimator
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.coordinator.loop import REST_S, Coordinator
from muster.job.coordinator.state import CoordinatorState
from muster.job.models.job_fetcher import STALL_S, JobFetcher
from muster.job.models.store import ModelStore
from muster.job.participant.answer import Answer
from muster.job.participant.loop import Participant
from muster.job.participant.start_model import StartModel
from muster.job.roles import finished, newest
from muster.job.session import TrainerSession
from muster.job.view import JobView
from muster.protocol.records import BlobId


class JobRunner:
    """Puts together what this node does for one job, and answers for its state."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        slot: asyncio.Lock,
        *,
        fresh: bool,
        needed_by_others: Callable[[], set[BlobId]],
    ) -> None:
        """`slot`: one job at a time trains. `fresh`: the job was made here in this life of the process.
        `needed_by_others()`: blobs that this node's other jobs cannot do without."""
        self.context, self.view, self._slot = context, view, slot
        self.opened_s = context.now()
        self.waiting_for_slot = False
        self._fault: str | None = None
        self._state = CoordinatorState(head_since_s=context.now())
        self.models = ModelStore(context, view)
        self.fetcher = JobFetcher(context, view, self.models)
        self.commits = CommitWriter(context, view, self.models)
        self._evaluation = HeadEvaluator(context, view, self.models, self.commits, self._state)
        self._coordinator = Coordinator(
            context, view, self.models, self.fetcher, self.commits, self._evaluation, self._state, fresh=fresh
        )
        self._contributions = ContributionEstimator(context, view, self.models)
        self.contribution_totals = ContributionTotals(view)
        self._answer = Answer(context, view)
        self._start = StartModel(context, view, self.models)
        self._session = TrainerSession(
            context, view, self.models, self.fetcher, self._answer, self._start, self._evaluation,
            self._contributions,
        )  # fmt: skip
        self._garbage = GarbageCollector(
            context, view, self.models, self._session, self._contributions, needed_by_others=needed_by_others
        )

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow())
                group.create_task(self._coordinator.run())
                group.create_task(self._work())
        finally:
            await self.fetcher.close()

    @property
    def acting(self) -> bool:
        """Whether this node coordinates the job."""
        return self._state.acting

    @property
    def participant(self) -> Participant | None:
        """This node's training for the job, from its first offer on."""
        return self._session.participant

    @property
    def error(self) -> str | None:
        """Why this node takes no part in the job, in one sentence."""
        return self._fault or self._answer.refused

    def failed(self, fault: str) -> None:
        """Note that a loop of the job ended by an internal fault."""
        self._fault = fault

    def needs(self) -> set[BlobId]:
        """Blobs that this job cannot do without."""
        return self._garbage.needs()

    def head(self) -> Point | None:
        """The head that this node would train on."""
        heads = self.models.heads()
        return newest(heads) if heads else None

    def finished(self) -> str | None:
        """Why the job is over as far as this node knows, or None."""
        return finished(self.view, self.models.heads())

    def state(self) -> str:
        """The job's state for people: stopped, finished, waiting or running."""
        if self.view.stopped is not None:
            return "stopped"
        head = self.head()
        if head is not None and self.view.finished(head) and not self.view.closing_due(head):
            return "finished"
        return "waiting" if self.waiting_for_slot else "running"

    async def _follow(self) -> None:
        """Hold the parameters of every head that is known and the payloads that are this node's to get, and
        delete what is not needed any more."""
        while True:
            if self._answer.unwilling() is None or self.view.asker == self.context.node:
                self.fetcher.fetch_heads(self._start.expected())
            self.fetcher.fetch_payloads(self.head(), self._state.acting)
            self._answer.supersede_old()
            self._garbage.collect()
            await self.context.changes.wait(REST_S if self._coordinator.rests() else STALL_S)

    async def _work(self) -> None:
        """Train as long as the job goes on; again when a late merge makes it go on."""
        while True:
            reason = self._answer.unwilling()
            if reason is not None:
                self._answer.refuse(reason)
                return
            if self.finished() is None or self._lacks_layout():
                self.waiting_for_slot = True
                async with self._slot:
                    self.waiting_for_slot = False
                    if not await self._session.run():
                        return
            await self.context.changes.wait()

    def _lacks_layout(self) -> bool:
        """Whether a merge cannot be computed here, as the node came after the job's end and has to ask its
        trainer for the layout."""
        return self.models.layout is None and any(h.is_merge for h in self.models.known_heads())
