"""Runs the trainer child of one job for as long as there is work for it, and again when it died.

A session publishes this node's offer and then runs three loops over one trainer: it trains what plans ask
for, evaluates heads and estimates contributions.  It ends when the job is over, when this node cannot take
part, or when another job waits for the trainer and nothing has moved in this one for a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from functools import partial
from typing import Any

from muster.errors import MusterError
from muster.job.context import Context, Facts, TrainerLike
from muster.job.coordinator.contribution_estimator import ContributionEstimator
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.models.job_fetcher import JobFetcher
from muster.job.models.store import ModelStore
from muster.job.participant.answer import Answer
from muster.job.participant.frozen_part import FrozenPart
from muster.job.participant.loop import ROOM_RETRY_S, Participant
from muster.job.participant.passing import Passing
from muster.job.participant.shared_trainer import SharedTrainer
from muster.job.participant.start_model import StartModel
from muster.job.participant.trainer_slot import LEASE_S, TrainerSlot
from muster.job.roles import finished
from muster.job.sharing.pool import SharedPool
from muster.job.sharing.publisher import Publisher
from muster.job.view import JobView
from muster.network.supervisor import Pulse
from muster.protocol.ids import short
from muster.storage.store import StorageError

RESTARTS_MAX = 5  # of the trainer child, without an update in between
RESTART_DELAY_S = 1.0
LOOK_S = 5.0  # between two looks whether the job moves, while another one waits


class SessionEnd(Enum):
    """Why a session ended."""

    OVER = "the job is over"
    OUT = "this node takes no part"
    REFUSED = "the task fails on this node, as things are"
    YIELDED = "another job has the trainer"
    LACKS = "what the task does not train has to be fetched"
    NOT_NOW = "this node does no more for the job as things are now"


class TrainerSession:
    """Owns the participant of one job, which exists from the first offer on."""

    def __init__(
        self, context: Context, view: JobView, models: ModelStore, fetcher: JobFetcher, answer: Answer,
        start: StartModel, frozen: FrozenPart, evaluation: HeadEvaluator,
        contributions: ContributionEstimator, slot: TrainerSlot, pool: SharedPool,
    ) -> None:  # fmt: skip
        self._publisher = Publisher(context, view, pool)
        self._slot, self._passing, self._frozen = slot, Passing(context, view, answer), frozen
        self._context, self._view, self._models, self._fetcher = context, view, models, fetcher
        self._answer, self._start = answer, start
        self._evaluation, self._contributions = evaluation, contributions
        self.participant: Participant | None = None
        self.starting = False  # the trainer, which takes its time

    async def run(self) -> SessionEnd:
        """Until the job is over, this node is out of it, or another job is to have the trainer."""
        failures = 0
        while True:
            trainer: TrainerLike | None = None
            before = len(self._view.updates)
            try:
                self.starting = True
                self._context.set_status("preparing", 0.0, self._view.id, 0)
                trainer = await self._context.open_trainer(self._view.job.task)
                job, share = self._view.job, self._context.trainer_share(self._view.asker)
                trainer.work_for(self._view.id, share, job.replay if job.like else None)
                return await self._train_with(trainer)
            except MusterError as error:
                self._answer.refuse(str(error))
                return SessionEnd.REFUSED
            except StorageError as error:
                self._context.event("error", f"waits for room: {error}", job=self._view.id)
                await asyncio.sleep(ROOM_RETRY_S)
            except ChildProcessError as error:
                failures = 1 if len(self._view.updates) > before else failures + 1
                self._context.event("error", f"the trainer died: {error}", job=self._view.id)
                if failures > RESTARTS_MAX:
                    self._answer.refuse(f"the trainer died {failures} times: {error}")
                    return SessionEnd.REFUSED
                await asyncio.sleep(RESTART_DELAY_S * 2 ** (failures - 1))
            finally:
                self.starting = False
                if trainer is not None:
                    await trainer.close()
                self._context.set_status("idle", 0.0, b"", 0)

    async def _train_with(self, trainer: TrainerLike) -> SessionEnd:
        facts = await trainer.describe()
        if facts.fingerprint != self._view.job.fingerprint:
            found = await self._with_frozen(trainer)
            if isinstance(found, SessionEnd):
                return found
            facts = found
        facts = await trainer.take_width(self._view.job.width)
        self._models.learn_layout(facts.layout)
        if self._models.forms.lacks_structure(self._view):
            self._models.forms.learn_structure(await trainer.structure())
        await self._start.make(trainer)
        self._context.changes.notify()
        if finished(self._view, self._models.heads()) is not None:
            return SessionEnd.OVER
        share = self._context.trainer_share(self._view.asker)
        shared = SharedTrainer(trainer, facts, partial(self._context.energy.computing, share))
        participant = Participant(
            self._context, self._view, self._models, self._fetcher, shared, self._passing
        )
        self.participant = participant
        if self._view.job.one_shot:
            await self._publisher.share_first(shared)
        await participant.offer()
        self.starting = False
        self._answer.offered()
        self._context.changes.notify()
        parts: dict[str, Callable[[Pulse], Coroutine[Any, Any, None]]] = {
            "lending the trainer of": partial(self._until_others_turn, participant),
            "keeping to what the owner gives": partial(self._until_given_enough, participant),
            "training for": participant.run,
            "evaluating heads of": partial(self._evaluate, participant),
            "estimating contributions to": partial(self._contributions.run, participant),
            "making the start of": partial(self._make_start_later, shared),
            "sharing samples with": partial(self._publisher.run, shared),
        }
        supervisor, job = self._context.supervisor, self._view.id
        tasks = [supervisor.part(f"{what} job {short(job)}", work, job=job) for what, work in parts.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await self._until_kept(participant)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        early = {tasks[0]: SessionEnd.YIELDED, tasks[1]: SessionEnd.NOT_NOW}
        return early.get(next(iter(done)), SessionEnd.OVER) if len(done) == 1 else SessionEnd.OVER

    async def _with_frozen(self, trainer: TrainerLike) -> Facts | SessionEnd:
        """The facts of the task with the job's frozen part, if the two differ in nothing else."""
        job, frozen = self._view.job, self._frozen
        differs = await trainer.differs(job.fingerprint)
        if not differs.in_frozen or frozen.blob is None:
            self._answer.refuse(differs.sentence)
            return SessionEnd.OUT
        frozen.lacks()
        if await frozen.held():
            return await trainer.take_frozen(frozen.blob, job.fingerprint)
        reason = frozen.unwilling()
        if reason is None:
            return SessionEnd.LACKS
        self._answer.refuse(reason)
        return SessionEnd.OUT

    async def _until_kept(self, participant: Participant) -> None:
        """Wait until the disk has taken what was trained, unless the job ends before."""
        while participant.waits_for_room and finished(self._view, self._models.heads()) is None:
            await self._context.changes.wait(ROOM_RETRY_S)

    async def _make_start_later(self, trainer: SharedTrainer, pulse: Pulse) -> None:
        """Make the first model, or find out its structure, when its commit comes after the trainer was ready;
        until cancelled."""
        while True:
            pulse.renew(None)
            if self._models.forms.lacks_structure(self._view):
                async with trainer.lock.exclusive():
                    self._models.forms.learn_structure(await trainer.child.structure())
                self._context.changes.notify()
            if self._start.due():
                async with trainer.lock.exclusive():
                    await self._start.make(trainer.child)
            await self._context.changes.wait()

    async def _until_given_enough(self, participant: Participant, pulse: Pulse) -> None:
        """Return when this node's owner lets others use no more of it, or the job is no concern of this node
        any more: outside of his hours at once, else when what is being trained is done."""
        allowance = self._context.allowance
        while self._answer.over_for_now() is None or not (participant.working_on is None or allowance.closed):
            wait_s = allowance.look_again_s()
            pulse.renew(wait_s)
            await self._context.changes.wait(wait_s)

    async def _until_others_turn(self, participant: Participant, pulse: Pulse) -> None:
        """Return when another job has work for the trainer and nothing moved in this one for `LEASE_S`."""
        seen, moved_s = self._motion(), self._context.now()
        while True:
            motion, now = self._motion(), self._context.now()
            busy = not participant.trainer.lock.free or self._fetcher.growing()
            if motion - seen or busy or participant.waits_for_room:  # no other job could keep its work either
                seen, moved_s = motion, now
            elif self._slot.wanted and now - moved_s >= LEASE_S:
                text = f"gives the trainer to another job: nothing came for {now - moved_s:.0f} s"
                self._context.event("job", text, job=self._view.id)
                return
            wait_s = LOOK_S if self._slot.wanted else None
            pulse.renew(wait_s)
            await self._context.changes.wait(wait_s)

    def _motion(self) -> set[object]:
        """What is new while a job goes on, here or at another node that works for it. (That one leaves it is
        no motion, or each node would wait for the one before.)"""
        heard = (self._context.presence.table.get(node[:8]) for node in self._view.offers)
        heartbeats = [
            h.heartbeat for h in heard if h is not None and self._view.id.startswith(h.heartbeat.job)
        ]
        others = {(b.node, b.state, b.progress, b.round) for b in heartbeats if b.job}
        return {("commits", self._view.graph.version), ("updates", len(self._view.updates)), *others}

    async def _evaluate(self, participant: Participant, pulse: Pulse) -> None:
        """Ends with the job, when its last head is evaluated and its last rounds' contributions are known."""
        await self._evaluation.run(participant, pulse)
        pulse.renew(None)
        await self._contributions.finish()
