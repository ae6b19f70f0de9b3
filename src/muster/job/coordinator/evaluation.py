"""Evaluates heads on the task's common set, while this node coordinates, and chooses the closing commit.

Where helpers train in the place of a slow asker, the fastest of them evaluates heads as well.

Each head is measured on part of the set, the last one on all of it.  Figures are records of their own.  A
task whose evaluation fails has none; its job goes on, unless figures are the only thing that can end it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial

from muster.errors import MusterError
from muster.history.point import Point
from muster.job.context import Context, EvaluationResult, Model
from muster.job.coordinator.commit_writer import CommitWriter
from muster.job.coordinator.state import CoordinatorState
from muster.job.figures import Figures, sorted_figures
from muster.job.models.store import ModelStore
from muster.job.participant.loop import Participant
from muster.job.roles import finished, newest
from muster.job.sharing.assistance import measurer
from muster.job.stop_rule import ends_without_figures, needs_figures, target_reached
from muster.job.view import JobView
from muster.network.supervisor import Pulse
from muster.protocol.ids import BlobId, CommitId, short
from muster.protocol.metrics import as_text, score
from muster.protocol.records import Measurement

MEASURE_EXAMPLES = 2000  # of the common set in each round; the final model is measured on all of it
LOOK_S = 1.0  # between two looks whether this node has to measure the head
DEATHS_MAX = 2  # of the trainer, at the evaluation of one head
PLAN_SOON_S = 0.05  # after a commit; by then its next round is planned, or there is nobody to plan for
CANDIDATES_MAX = 4  # models that are measured on the whole set to find the best one of a job


@dataclass(frozen=True)
class _Closing:
    """A model that a job may close with."""

    what: str
    blob: BlobId
    figures: Figures | None


class HeadEvaluator:
    """Measures the heads of one job, while its trainer lives."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        models: ModelStore,
        commits: CommitWriter,
        state: CoordinatorState,
    ) -> None:
        self._context, self._view, self._models = context, view, models
        self._commits, self._state = commits, state
        self._measured_fully: set[CommitId] = set()
        self._evaluates: Participant | None = None  # while this node evaluates heads on the common set
        self._planned_for: CommitId = b""  # the head whose round had time to be planned
        self._given_up: set[CommitId] = set()  # heads that cannot be evaluated
        self._deaths: Counter[CommitId] = Counter()

    async def run(self, participant: Participant, pulse: Pulse) -> None:
        """Until the job has ended and its last head was measured."""
        self._evaluates = participant if participant.trainer.facts.has_common else None
        try:
            await self._measure_heads(participant, pulse)
        finally:
            self._evaluates = None

    def awaits_figures(self, head: Point) -> bool:
        """Whether this node is about to measure a head that may be the job's end."""
        return (
            self._evaluates is not None
            and not self._evaluates.waits_for_room
            and needs_figures(self._view.job.stop)
            and self._view.figures(head.id) is None
            and self._models.held(head.id)
            and head.id not in self._given_up
        )

    async def _measure_heads(self, participant: Participant, pulse: Pulse) -> None:
        while True:
            pulse.renew(None)
            heads = self._models.heads()
            head = newest(heads) if heads else None
            reason = finished(self._view, heads)
            acting, common = self._state.acting, participant.trainer.facts.has_common
            if head is not None and common and (acting or (reason is None and self._measures_for_asker())):
                if reason is not None and self._view.closing_due(head):
                    await self._choose_closing(participant, head)
                    continue
                if reason is None and head.id not in self._given_up and self._view.figures(head.id) is None:
                    if await self._own_part_first(participant, head):
                        await self._measure(participant, head.id, MEASURE_EXAMPLES)
                    continue
                if reason is not None and head.id not in self._measured_fully:
                    await self._measure_whole(participant, head.id)
                    continue
            if reason is not None:
                return
            # the coordinator changes by time alone, and it has to find out whether the head is the end
            awaited = head is not None and self.awaits_figures(head)
            pulse.renew(LOOK_S if awaited else None)
            await self._context.changes.wait(LOOK_S if awaited else None)

    def _measures_for_asker(self) -> bool:
        """Whether this node is the fastest of those that train in the place of a slow asker, for which a
        round would wait as long as for its training."""
        return measurer(self._context, self._view) == self._context.node

    async def _own_part_first(self, participant: Participant, head: Point) -> bool:
        """Others wait for this node's update, nobody for figures: false while its part in the round on
        `head` is not done (wait and look again)."""
        if head.id != self._planned_for:
            self._planned_for = head.id
            await asyncio.sleep(PLAN_SOON_S)
            return False
        if participant.owes(head.id):
            await self._context.changes.wait()
            return False
        return True

    async def _measure(self, participant: Participant, commit: CommitId, limit: int | None = None) -> None:
        """Evaluate a commit on the task's common set and publish the figures. Where `limit` examples say that
        the job's target is reached, all are asked: a figure that ends a job must not be taken back."""
        model = self._models.model_of(commit)
        if model is None or not await self._models.sound(commit):
            return
        m = await self._evaluated(participant, commit, model, limit)
        if m is not None:
            await participant.when_room(partial(self._publish, commit, m))

    async def _evaluated(
        self, participant: Participant, commit: CommitId, model: Model, limit: int | None = None
    ) -> EvaluationResult | None:
        """A model's figures; None when the task's evaluation fails. Raises ChildProcessError, and MusterError
        in a job that only figures can end."""
        if commit in self._given_up:
            return None
        try:
            return await participant.trainer.evaluate(model, limit, self._reaches_target)
        except MusterError as error:
            if not ends_without_figures(self._view.job.stop):
                raise
            self._give_up(commit, error.sentence)
        except ChildProcessError as error:
            self._deaths[commit] += 1
            if self._deaths[commit] >= DEATHS_MAX:
                self._give_up(commit, str(error))
            raise
        return None

    def _give_up(self, commit: CommitId, why: str) -> None:
        first = not self._given_up
        self._given_up.add(commit)
        if first:
            self._context.event("error", f"there are no figures: {why}", job=self._view.id)

    async def _choose_closing(self, participant: Participant, head: Point) -> None:
        """Close with what is best on the whole common set: the last model, the best one before it, or the
        mean of the line's last ones. No commit is made where the last model turns out to be the best."""
        await self._measure_whole(participant, head.id)
        own_blob, average = self._models.blob_of(head.id), self._view.job.recipe.average
        assert own_blob is not None
        found = [_Closing("the last model", own_blob, self._view.figures(head.id))]
        best = await self._best_before(participant, head)
        if best is not None and (blob := self._models.blob_of(best.id)) is not None:
            found.append(_Closing(f"the model of round {best.round}", blob, self._view.figures(best.id)))
        if average > 1:
            blob, count = await self._commits.mean_of_line(head)
            m = await self._evaluated(
                participant, head.id, Model(blob, self._models.shape_of(head.id) or b"")
            )
            if m is not None:
                figures = Figures(m.examples, m.figures, True)
                found.append(_Closing(f"the mean of the last {count} models", blob, figures))
        if not self._view.closing_due(head):
            return
        chosen = max(found, key=lambda closing: score(self._view.headline, self._value(closing.figures)))
        commit = self._commits.close(head, chosen.blob)
        if chosen.figures is not None:
            sums = dict(chosen.figures.sums)
            await self._publish(commit, EvaluationResult(chosen.figures.examples, sums))
        self._measured_fully.add(commit)
        self._context.event("commit", self._said(commit, chosen, found), job=self._view.id)

    def _said(self, commit: CommitId, chosen: _Closing, found: list[_Closing]) -> str:
        name, others = self._view.headline.name, [c for c in found if c is not chosen]
        figures = [
            f"{name} {as_text(name, value)} of {c.what}"
            for c in (chosen, *others)
            if (value := self._value(c.figures)) is not None
        ]
        text = f"closed with {chosen.what} as {short(commit)}"
        return f"{text}: {', '.join(figures)}" if others and figures else text

    async def _best_before(self, participant: Participant, head: Point) -> Point | None:
        """The best held model before the head, if it is better on the whole common set. In the rounds each
        was measured on a part of the set, so that the best of these may not be the best of all."""
        for _ in range(CANDIDATES_MAX):
            best = self._view.best_before(head, self._models.held)
            if best is None or best.id in self._measured_fully:
                break
            await self._measure_whole(participant, best.id)
        held = self._models.held
        return self._view.best_before(head, lambda c: c in self._measured_fully and held(c))

    async def _measure_whole(self, participant: Participant, commit: CommitId) -> None:
        if commit not in self._measured_fully:
            self._measured_fully.add(commit)
            await self._measure(participant, commit)

    def _value(self, figures: Figures | None) -> float | None:
        """Of the job's first metric."""
        return figures.value(self._view.headline) if figures is not None else None

    def _reaches_target(self, m: EvaluationResult) -> bool:
        job = self._view.job
        return target_reached(job.stop, job.metrics, Figures(m.examples, m.figures))

    async def _publish(self, commit: CommitId, m: EvaluationResult) -> None:
        """Publish figures of the common set."""
        self._context.ledger.publish(
            Measurement(self._view.id, commit, m.examples, sorted_figures(m.figures), True)
        )
