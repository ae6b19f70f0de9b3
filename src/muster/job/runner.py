"""Runs one job on one node: three loops over one view.

Each loop looks at the state, does what is due and waits for a change (`reactions.REACTIONS` says which loop
reacts to what).  Following and coordinating go on after the job has ended, so that a branch that comes home
late is still merged; the trainer child lives only while there is work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from muster.history.point import Point
from muster.job import waits
from muster.job.beginning import Beginning
from muster.job.collector import GarbageCollector
from muster.job.context import Context
from muster.job.contribution_totals import ContributionTotals
from muster.job.coordinator.commit_writer import CommitWriter
from muster.job.coordinator.contribution_estimator import ContributionEstimator
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.coordinator.loop import REST_S, Coordinator
from muster.job.coordinator.round_planner import RoundPlanner
from muster.job.coordinator.state import CoordinatorState
from muster.job.models.job_fetcher import STALL_S, JobFetcher
from muster.job.models.store import ModelStore
from muster.job.participant.answer import Answer
from muster.job.participant.frozen_part import FrozenPart
from muster.job.participant.loop import Participant
from muster.job.participant.passing import Retry
from muster.job.participant.start_model import StartModel
from muster.job.participant.trainer_slot import TrainerSlot
from muster.job.roles import coordinator, finished, newest
from muster.job.session import SessionEnd, TrainerSession
from muster.job.sharing.pool import SharedPool
from muster.job.view import JobView
from muster.job.waits import Wait, WaitLog
from muster.network.supervisor import KeptLoop, Pulse
from muster.protocol.ids import BlobId, CommitId, short

FROZEN_LOOK_S = 1.0  # while it comes
FAULTS_NAMED = 5  # of one loop in the supervisor's time, and the job is said to be held up


class JobRunner:
    """Puts together what this node does for one job, and answers for its state."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        slot: TrainerSlot,
        *,
        since_s: float,
        needed_by_others: Callable[[], set[BlobId]],
    ) -> None:
        """`slot`: who has the trainer. `since_s`: since when this process follows the job (loop time); minus
        infinity: it was made here in this life of the process. `needed_by_others()`: blobs that this node's
        other jobs cannot do without."""
        self.context, self.view, self._slot = context, view, slot
        self.since_s = since_s
        self.waiting_for_slot = False
        self.yielded = False  # its trainer went to another job, as nothing moved in this one
        self._in_session = False
        self._over: str | None = None  # why, when that was looked at last; "": it goes on
        self._loops: list[KeptLoop] = []
        self._wait_log = WaitLog(context, view)
        self._state = CoordinatorState(head_since_s=context.now())
        self.models = ModelStore(context, view)
        self._beginning = Beginning(context, view, self.models)
        self.pool = SharedPool(context, view, self.models)
        self.fetcher = JobFetcher(context, view, self.models, self.pool)
        self.commits = CommitWriter(context, view, self.models)
        self._evaluation = HeadEvaluator(context, view, self.models, self.commits, self._state)
        self.planner = RoundPlanner(context, view, self.models, self.commits)
        self._coordinator = Coordinator(
            context, view, self.models, self.fetcher, self.commits, self._evaluation, self.planner,
            self._state, since_s=since_s,
        )  # fmt: skip
        self._contributions = ContributionEstimator(context, view, self.models)
        self.contribution_totals = ContributionTotals(view)
        self._answer = Answer(context, view)
        self._retry = Retry(context, view)
        self._start = StartModel(context, view, self.models)
        self._frozen = FrozenPart(context, view, self.models)
        self._session = TrainerSession(
            context, view, self.models, self.fetcher, self._answer, self._start, self._frozen,
            self._evaluation, self._contributions, slot, self.pool,
        )  # fmt: skip
        self._garbage = GarbageCollector(
            context, view, self.models, self._session, self._contributions, self._frozen, self.pool,
            needed_by_others=needed_by_others, apart=self._apart,
        )  # fmt: skip

    def _apart(self) -> bool:
        """Whether all that this node has of the job is here for others."""
        return self._answer.refused is not None and self.view.asker != self.context.node

    def start(self, on_fault: Callable[[Exception], None]) -> None:
        """Begin the three loops; `on_fault(error)` is called when one of them fails; it starts again."""
        name, supervisor = short(self.view.id), self.context.supervisor
        for what, loop in (
            ("following", self._follow),
            ("coordinating", self._coordinator.run),
            ("working for", self._work),
        ):
            self._loops.append(
                supervisor.keep(f"{what} job {name}", loop, job=self.view.id, on_fault=on_fault)
            )

    def tidy(self) -> None:
        """Between two slices of the job's records: what would take long with all of them (`reading`)."""
        self.models.look()
        self._garbage.tidy()

    async def close(self) -> None:
        """End the loops and what they fetch."""
        for loop in self._loops:
            loop.cancel()
        tasks = [loop.task for loop in self._loops if loop.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._slot.leave(self.view.id)
        await self._frozen.close()
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
        now_s = self.context.now()
        for loop in self._loops:
            if loop.recent_faults(now_s) >= FAULTS_NAMED:
                return f"a fault in Muster holds this job up here, it is tried again: {loop.why}"
        if self.view.unneeded():
            return None
        head = self.head()
        nobody = waits.all_pass(self.view, head) if head is not None else None
        return self._answer.refused or (
            nobody.text if nobody is not None and not self._others_start() else None
        )

    def _others_start(self) -> bool:
        """Whether a node in reach is about to say whether it takes part."""
        presence, trust = self.context.presence, self.context.ledger.trust
        return any(presence.doing(n) == "preparing" and presence.lively(n) for n in trust.members())

    def may_leave(self) -> bool:
        """Whether no trainer works for the job."""
        return not self._in_session

    def rests(self) -> bool:
        """Whether nothing is left to do for the job here, as far as this node knows."""
        if self._in_session:
            return False
        view = self.view
        if self._answer.refused is not None or (view.stopped or view.given_up):  # it may never hold a model
            return finished(view, self.models.known_heads()) is not None or view.given_up is not None
        return self._coordinator.rests() and all(self.models.held(h.id) for h in self.models.known_heads())

    def needs(self) -> set[BlobId]:
        """Blobs that this job cannot do without."""
        return self._garbage.needs()

    def needed_commits(self) -> set[CommitId]:
        """Commits whose parameters stay whatever the disk limit says."""
        return self._garbage.needed_commits()

    def head(self) -> Point | None:
        """The head that this node would train on."""
        heads = self.models.heads()
        return newest(heads) if heads else None

    def model_bytes(self) -> int:
        """Of the head's parameters; 0 while nothing is known of them."""
        head = self.head()
        form = self.models.form_of(head.id) if head is not None else self.models.forms.form(b"")
        return form.layout.blob_bytes if form is not None else 0

    def finished(self) -> str | None:
        """Why the job is over as far as this node knows, or None."""
        return finished(self.view, self.models.heads())

    def state(self) -> str:
        """The job's state for people: stopped, finished, waiting or running."""
        head = self.head()
        if self.view.stopped is not None or (head is None and self.view.given_up is not None):
            return "stopped"
        if self.view.unneeded() or (
            head is not None and self.view.finished(head) and not self.view.closing_due(head)
        ):
            return "finished"
        return "waiting" if self.waiting_for_slot else "running"

    def _waits(self) -> list[Wait]:
        """What the job waits for as far as this node knows."""
        context, view, head = self.context, self.view, self.head()
        found: list[Wait] = []
        if self.finished() is None and self.error is None:
            if self.waiting_for_slot:
                found.append(Wait("waits until this node's trainer is done with another job"))
            elif self._session.starting:
                found.append(Wait("the trainer is starting"))
            elif (coming := self._frozen.wait()) is not None:
                found.append(coming)
            if head is None:
                found.append(waits.at_start(context, view))
                return found
            acting = self._state.acting
            wait = self._coordinator.waits_for() if acting else waits.in_round(context, view, head)
            found += [wait] if wait is not None else []
        return found

    def waits(self, *, outside: bool = True) -> list[str]:
        """What the job waits for, in sentences, and (`outside`) who takes no part."""
        found = self._waits() + (self._outside() if outside else [])
        return [waits.said(self.context, wait) for wait in found]

    def _outside(self) -> list[Wait]:
        """Who takes no part."""
        return waits.outside(self.context, self.view, self.head()) + self._coordinator.outside()

    def _tell_end(self) -> None:
        """Log that the job is over, unless it was when it was loaded or `Beginning` said so."""
        given_up = self.view.given_up is not None
        over = self.finished() if self.state() in ("finished", "stopped") and not given_up else ""
        if over and self._over not in (None, over):
            self.context.event("end", f"the job is over: {over}", job=self.view.id)
        self._over = over or ""

    def _tell_waits(self) -> None:
        """Log waits where somebody follows the job."""
        if self._state.acting or self.view.asker == self.context.node:
            self._wait_log.look(self._waits() + self._outside())

    async def _follow(self, pulse: Pulse) -> None:
        """Hold the parameters of every head that is known and the payloads that are this node's to get, and
        delete what is not needed any more."""
        while True:
            self._beginning.look()
            if self._answer.unwilling() is not None and self.view.asker != self.context.node:
                self.fetcher.end_model_fetches()
            elif self._needs_models():
                self.fetcher.fetch_heads(self._start.expected())
            self.fetcher.fetch_payloads(self.head(), self._state.acting)
            self._answer.supersede_old()
            self._garbage.collect()
            self._tell_waits()
            self._tell_end()
            wait_s = REST_S if self._coordinator.rests() else STALL_S
            pulse.renew(wait_s)
            await self.context.changes.wait(wait_s)

    async def _work(self, pulse: Pulse) -> None:
        """Train as long as the job goes on; again when a late merge makes it go on."""
        while True:
            pulse.renew(None)
            if (reason := self._answer.never()) is not None:
                self._answer.refuse(reason)
                return
            if (reason := self._answer.not_now()) is not None:
                if reason != self._answer.refused and finished(self.view, self.models.known_heads()) is None:
                    self._answer.refuse(reason, "offer")
                self.waiting_for_slot = False
                self._frozen.pause()
                await self.context.changes.wait(self.context.allowance.look_again_s())
                continue
            self._frozen.look()
            due = self._retry.due() and (self.finished() is None or self._lacks_layout())
            due = due and not self._frozen.due()
            wanted = self._slot.wanted
            if due and self._slot.ask(self.view.id, urgent=self._can_go_on()):
                self.waiting_for_slot = False
                ended = await self._train()
                if ended is SessionEnd.OUT:
                    return
                if ended is SessionEnd.REFUSED:
                    self._retry.failed()
                self.yielded = ended is SessionEnd.YIELDED
                if self.yielded or ended in (SessionEnd.LACKS, SessionEnd.NOT_NOW):
                    continue
            self.waiting_for_slot = due
            if not due:
                self._slot.leave(self.view.id)
            if self._slot.wanted and not wanted:
                self.context.changes.notify()  # the job that has the trainer looks whether it needs it
            # what comes of the frozen part may use up what the owner gives
            await self.context.changes.wait(FROZEN_LOOK_S if self._frozen.fetching else self._retry.wait_s())

    async def _train(self) -> SessionEnd:
        """A session of the trainer, which this job has until it ends."""
        self._in_session = True
        try:
            return await self._session.run()
        finally:
            self._in_session = False
            self._slot.leave(self.view.id)
            self.context.changes.notify()

    def _needs_models(self) -> bool:
        """Whether this node should hold the heads' models: where bytes cost money, only once it is asked to
        train on one, may have to coordinate, or the job is over."""
        own = self.view.asker == self.context.node
        if not self.context.policy.owner.metered or own or self._state.acting:
            return True
        head, participant = self.head(), self._session.participant
        if head is None or participant is None or participant.asked():
            return True
        best = coordinator(self.view, head, lambda _: True)
        alone = best is None or not self.context.presence.lively(best)
        return alone or finished(self.view, self.models.known_heads()) is not None

    def _can_go_on(self) -> bool:
        """Whether there is work for the trainer; a job that it never worked for may have some."""
        participant = self._session.participant
        return not self.yielded or participant is None or participant.can_train() or self._start.due()

    def _lacks_layout(self) -> bool:
        """Whether a merge cannot be computed here, as the node came after the job's end and has to ask its
        trainer for the layout."""
        unknown = self.models.layout is None or self.models.forms.lacks_structure(self.view)
        return unknown and any(h.is_merge for h in self.models.known_heads())
