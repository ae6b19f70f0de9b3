"""Runs the trainer child of one job for as long as there is work for it, and again when it died.

A session publishes this node's offer and then runs three loops over one trainer: it trains what plans ask
for, evaluates heads and estimates contributions.  It ends when the job is over, or when this node cannot take
part.
"""

from __future__ import annotations

import asyncio

from muster.compression.codec import CodecError
from muster.errors import MusterError
from muster.job.context import Context, TrainerLike
from muster.job.coordinator.contribution_estimator import ContributionEstimator
from muster.job.coordinator.evaluation import HeadEvaluator
from muster.job.models.job_fetcher import JobFetcher
from muster.job.models.store import ModelStore
from muster.job.participant.answer import Answer
from muster.job.participant.loop import ROOM_RETRY_S, Participant
from muster.job.participant.shared_trainer import SharedTrainer
from muster.job.participant.start_model import StartModel
from muster.job.roles import finished
from muster.job.view import JobView
from muster.protocol.records import short
from muster.storage.store import StorageError

RESTARTS_MAX = 5  # of the trainer child, without an update in between
RESTART_DELAY_S = 1.0


class TrainerSession:
    """Owns the participant of one job, which exists from the first offer on."""

    def __init__(
        self, context: Context, view: JobView, models: ModelStore, fetcher: JobFetcher, answer: Answer,
        start: StartModel, evaluation: HeadEvaluator, contributions: ContributionEstimator,
    ) -> None:  # fmt: skip
        self._context, self._view, self._models, self._fetcher = context, view, models, fetcher
        self._answer, self._start = answer, start
        self._evaluation, self._contributions = evaluation, contributions
        self.participant: Participant | None = None

    async def run(self) -> bool:
        """Until the job is over; False: this node is out of the job."""
        failures = 0
        while True:
            trainer: TrainerLike | None = None
            before = len(self._view.updates)
            try:
                self._context.set_status("preparing", 0.0, self._view.id, 0)
                trainer = await self._context.open_trainer(self._view.job.task)
                return await self._train_with(trainer)
            except (MusterError, CodecError) as error:  # no codec carries what was trained: it has diverged
                self._answer.refuse(str(error))
                return False
            except StorageError as error:
                self._context.event("error", f"waits for room: {error}", job=self._view.id)
                await asyncio.sleep(ROOM_RETRY_S)
            except ChildProcessError as error:
                failures = 1 if len(self._view.updates) > before else failures + 1
                self._context.event("error", f"the trainer died: {error}", job=self._view.id)
                if failures > RESTARTS_MAX:
                    self._answer.refuse(f"the trainer died {failures} times: {error}")
                    return False
                await asyncio.sleep(RESTART_DELAY_S * 2 ** (failures - 1))
            finally:
                if trainer is not None:
                    await trainer.close()
                self._context.set_status("idle", 0.0, b"", 0)

    async def _train_with(self, trainer: TrainerLike) -> bool:
        facts = await trainer.describe()
        if facts.fingerprint != self._view.job.fingerprint:
            self._answer.refuse(
                f"the task {facts.name!r} here has fingerprint {short(facts.fingerprint)}, the job's has "
                f"{short(self._view.job.fingerprint)}: install the same version of the task on every node"
            )
            return False
        self._models.learn_layout(facts.layout)
        await self._start.make(trainer)
        self._context.changes.notify()
        if finished(self._view, self._models.heads()) is not None:
            return True
        shared = SharedTrainer(trainer, facts)
        participant = Participant(self._context, self._view, self._models, self._fetcher, shared)
        self.participant = participant
        await participant.offer()
        self._answer.remember()
        self._context.changes.notify()
        loops = participant.run(), self._evaluate(participant), self._contributions.run(participant)
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return True

    async def _evaluate(self, participant: Participant) -> None:
        """Ends with the job, when its last head is evaluated and its last rounds' contributions are known."""
        await self._evaluation.run(participant)
        await self._contributions.finish()
