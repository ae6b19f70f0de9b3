"""The participant's loop: it waits for a plan and the plan's base, trains, and publishes the update."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from muster.algorithms.learning_rate import learning_rate
from muster.compression.codec import CodecError
from muster.errors import MusterError
from muster.history.point import Point
from muster.job.context import Context, TrainingRequest, TrainingResult
from muster.job.figures import sorted_figures
from muster.job.models.job_fetcher import JobFetcher
from muster.job.models.payloads import payload_held
from muster.job.models.store import ModelStore
from muster.job.owner.allowance import Left
from muster.job.participant.passing import Passing
from muster.job.participant.shared_samples import SharedSamples
from muster.job.participant.shared_trainer import SharedTrainer
from muster.job.participant.update_writer import UpdateWriter, node_seed
from muster.job.roles import open_plans, pieces
from muster.job.stop_rule import ends_without_figures
from muster.job.view import JobView, KnownPlan
from muster.network.supervisor import Pulse
from muster.planning.codec_choice import METERED_CODEC, sparser
from muster.planning.step_size import of_round
from muster.protocol.ids import BlobId, CommitId
from muster.protocol.parts import Assignment
from muster.protocol.records import Measurement, Plan
from muster.storage.offload import to_its_end
from muster.storage.store import StorageError

T = TypeVar("T")
MERGE_CHECK_S = 1.0  # between two checks whether a merge is still to be waited for
RECEIVING_CHECK_S = 0.25  # how often the progress of a model that is being fetched is shown
ROOM_RETRY_S = 2.0  # between two tries to write to a full disk


class Participant:
    """Owns what this node trains for one job, from its offer to the end of the trainer's session."""

    def __init__(
        self, context: Context, view: JobView, models: ModelStore, fetcher: JobFetcher,
        trainer: SharedTrainer, passing: Passing,
    ) -> None:  # fmt: skip
        self._context, self._view, self._models, self._fetcher = context, view, models, fetcher
        self.trainer = trainer
        self._writer = UpdateWriter(context, view, models, trainer.facts)
        self._step_s = 0.0  # as offered last
        self._samples = SharedSamples(context, view)
        self._passing = passing
        self._own = view.asker == context.node
        self._offered_left = Left()  # what this node's owner let others use when it offered
        self._round = 0  # that is shown as this node's
        self.working_on: CommitId | None = None  # the base of what is trained now
        self.waits_for_room = False  # for something that is done here and has to be kept
        self._several_heads_since_s: float | None = None
        self._without_figures = False  # the task's evaluation fails

    async def offer(self) -> None:
        """Answer the call for help with what was measured here."""
        self._context.energy.begin(self._view.id)
        async with self.trainer.lock.exclusive():
            step_s = await self.trainer.child.measure_speed(self._view.job.recipe.batch)
        await self._offer(step_s)

    async def _offer(self, step_s: float) -> None:
        self._step_s = step_s
        self._passing.offered()
        self._offered_left = self._left()
        announce = await self.when_room(partial(self._keep_offer, step_s))
        announce()
        facts = self.trainer.facts
        left_out = f" ({facts.skipped} with NaN left out)" if facts.skipped else ""
        most = f", at most {facts.steps_max} steps a round" if facts.steps_max else ""
        what = f"{facts.samples} samples{left_out}" if facts.samples else "help, as it has no data of its own"
        text = f"offers {what}, {1 / step_s:.0f} steps/s{most}"
        self._context.event("offer", text, job=self._view.id)

    async def _keep_offer(self, step_s: float) -> Callable[[], None]:
        return self._writer.keep_offer(step_s, self._fetcher.goodput_bytes_s, self._offered_left)

    def _left(self) -> Left:
        """What others may use of this node; its own jobs use what they want."""
        return Left() if self._own else self._context.allowance.left()

    async def run(self, pulse: Pulse) -> None:
        """Train one plan after another, until cancelled. Raises ChildProcessError.

        What the task itself raises costs this node the round.
        """
        while True:
            pulse.renew(None)
            plan = self._next()
            if plan is None:
                self._set_status("idle", 0.0)
                if (wait_s := self._passing.wait_s()) == 0.0:
                    await self._offer(self._step_s)
                    continue
                if self._several_heads_since_s is not None:
                    wait_s = MERGE_CHECK_S
                pulse.renew(wait_s)
                await self._context.changes.wait(wait_s)
            elif (fault := self._samples.fault(self._piece(plan))) is not None:
                self._passing.failed(plan.record.round, fault)
            elif not (self._models.held(plan.record.parent) and self._samples.all_ready(self._piece(plan))):
                self._round = plan.record.round
                self._set_status("receiving", self._received(plan.record.parent))
                pulse.renew(RECEIVING_CHECK_S)
                await self._context.changes.wait(RECEIVING_CHECK_S)
            elif await self._models.sound(plan.record.parent):
                piece = self._piece(plan)
                try:
                    await self._train(plan, piece)
                    if piece not in plan.record.stand_ins:
                        self._passing.trained()
                except (MusterError, CodecError, ChildProcessError) as error:
                    if piece.data and self._context.node not in piece.data:
                        self._samples.failed(piece)
                        names = ", ".join(map(self._context.name_of, piece.data))
                        text = f"the samples of {names} cannot be trained on: {error}"
                        self._context.event("error", text, job=self._view.id)
                    if isinstance(error, ChildProcessError):
                        raise
                    if piece not in plan.record.stand_ins:  # no codec carries it, where it diverged
                        self._passing.failed(plan.record.round, str(error))
                finally:
                    self.working_on = None
                    self._context.changes.notify()  # evaluation waits until this node owes nothing

    def owes(self, base: CommitId) -> bool:
        """Whether this node is to train on top of `base` and has not done so."""
        plan = self._next()
        return self.working_on == base or (plan is not None and plan.record.parent == base)

    def asked(self) -> bool:
        """Whether a plan waits for this node."""
        return self._next() is not None

    def idle(self) -> bool:
        """Whether the trainer has nothing to do: its lock is free, and no plan waits."""
        return self.trainer.lock.free and self._next() is None

    def can_train(self) -> bool:
        """Whether a plan waits and the model that it begins with is here."""
        plan = self._next()
        return plan is not None and self._models.held(plan.record.parent)

    async def when_room(self, write: Callable[[], Awaitable[T]]) -> T:
        """Call `write` until the disk has room for it, so that what was trained is not thrown away."""
        try:
            while True:
                try:
                    return await write()
                except StorageError as error:
                    if not self.waits_for_room:
                        self._context.event("error", f"waits for room: {error}", job=self._view.id)
                    self.waits_for_room = True
                    await asyncio.sleep(ROOM_RETRY_S)
        finally:
            self.waits_for_room = False

    # ---- which plan ---------------------------------------------------------------------------------

    def _next(self) -> KnownPlan | None:
        """The plan to work on now, if there is one."""
        held = self._models.heads()
        if any(self._view.finished(h) for h in held) or self._merge_due(held):
            return None
        if self._passing.over_for_now():
            return None
        for heads in (held, self._models.known_heads()):  # what can be done now goes first
            plans = open_plans(self._view, self._context.node, self._done, heads)
            if plans:
                return plans[0]
        return None

    def _done(self, plan: Plan, piece: Assignment) -> bool:
        """Whether a piece of a plan's work is done, or, where it stands in for others, not to be done now."""
        if self._writer.worked_on(plan.parent, piece.data):
            return True
        return piece in plan.stand_ins and (not self._samples.all_ready(piece) or self._came(plan, piece))

    def _came(self, plan: Plan, piece: Assignment) -> bool:
        """Whether all nodes for which it stands in have sent updates of their own meanwhile."""
        store = self._context.store
        uncounted = self._fetcher.uncounted(self._view.graph.points[plan.parent])
        own = [u for u in uncounted if not u.record.data and payload_held(store, u.record.payload)]
        return {u.key.node for u in own}.issuperset(piece.data)

    def _piece(self, plan: KnownPlan) -> Assignment:
        """What of an open plan's work is done next."""
        mine = pieces(plan.record, self._context.node)
        return next((a for a in mine if not self._done(plan.record, a)), mine[-1])

    def _merge_due(self, held: Sequence[Point]) -> bool:
        """Whether this node holds branches that a coordinator is about to merge.

        What it would train on one of them now would pull the merge towards that one, most of all on the
        branch of others.
        """
        if len(held) < 2:
            self._several_heads_since_s = None
            return False
        if self._several_heads_since_s is None:
            self._several_heads_since_s = self._context.now()
        return self._context.now() - self._several_heads_since_s < self._view.job.patience_s

    # ---- training it --------------------------------------------------------------------------------

    async def _train(self, plan: KnownPlan, piece: Assignment) -> None:
        context, view, trainer = self._context, self._view, self.trainer
        parent, round_ = plan.record.parent, plan.record.round
        model, samples = self._models.model_of(parent), await self._samples.blobs(piece)
        if samples is None:
            return
        if model is None or self._models.form_of(parent) is None:
            raise MusterError(
                "fingerprint",
                "the model keeps channels that the task's has not here: install one version of the task and "
                "of its framework on every node",
            )
        self.working_on = parent
        self._round = round_
        self._set_status("training", 0.0)
        began_s = context.now()
        async with trainer.lock.exclusive():
            if trainer.facts.samples and not trainer.facts.has_common:
                await self._measure_own(parent)
            request = self._request(plan.record, piece, samples)
            try:
                shown = partial(self._set_status, "training")
                trained = await trainer.child.train(model, request, shown)
            except KeyError:  # what it trains on was deleted meanwhile, as at the end of the job
                return
        took_s = context.now() - began_s
        # also when the session ends meanwhile, as it does when the child dies: the work is done
        await self.when_room(lambda: to_its_end(self._keep_update(plan, piece, trained)))
        self._set_status("sending", 0.0)
        instead = f" in the place of {', '.join(map(context.name_of, piece.data))}" if piece.data else ""
        if context.node in piece.data:
            instead = f" on the samples of {len(piece.data)} nodes"
        context.event(
            "update",
            f"trained {trained.steps} steps{instead} for round {round_} in {took_s:.2f} s"
            + ("" if math.isnan(trained.loss) else f", loss {trained.loss:.3f}")
            + (f", {trained.skipped} samples with NaN left out" if trained.skipped else ""),
            job=view.id,
        )
        if self._writer.knows_more() or self._left_much_less():
            await self._offer(self._step_s)

    def _request(
        self, plan: Plan, piece: Assignment, samples: tuple[tuple[BlobId, float], ...]
    ) -> TrainingRequest:
        recipe, node = self._view.job.recipe, self._context.node
        if node in piece.data:  # a pool: all that is shared, and its own data beside it
            seed, own_weight = node_seed(recipe.seed, node, plan.round), float(self.trainer.facts.samples)
            return TrainingRequest(
                piece.steps, recipe.lr, recipe.batch, recipe.momentum, seed, plan.round, samples, own_weight,
                cosine=True,
            )  # fmt: skip
        helped = all(a.data for a in plan.assignments)
        _, factor = of_round(self._view.job, (a.codec for a in plan.assignments), helped=helped)
        by = piece.data[0] if piece in plan.stand_ins else self._context.node
        return TrainingRequest(
            piece.steps,
            factor * learning_rate(recipe, plan.round, self._view.job.stop.rounds),
            recipe.batch,
            recipe.momentum,
            node_seed(recipe.seed, by, plan.round),
            plan.round,
            samples,
        )

    def _left_much_less(self) -> bool:
        """Whether less than half is left of what this node's owner let others use when it offered."""
        if self._own or self._context.allowance.why_not() is not None:
            return False
        return self._left().half_of(self._offered_left)

    def _codec(self, assignment: Assignment) -> str:
        """What is planned, or a sparser one where the owner pays for bytes and the job leaves the choice."""
        metered = self._context.policy.owner.metered and not self._own
        free = self._view.job.recipe.codec == "auto"
        return sparser(assignment.codec, METERED_CODEC) if metered and free else assignment.codec

    async def _keep_update(self, plan: KnownPlan, piece: Assignment, trained: TrainingResult) -> None:
        stays = piece in plan.record.stand_ins  # with this node, which coordinates
        codec = piece.codec if stays or piece.data else self._codec(piece)
        announce = await self._writer.keep_update(plan, piece, codec, trained)
        announce()

    async def _measure_own(self, commit: CommitId) -> None:
        """Publish the figures of a commit on this node's held-out data; the caller has the trainer's lock."""
        model = self._models.model_of(commit)
        assert model is not None
        try:
            m = await self.trainer.child.evaluate(model, "own")
        except MusterError as error:
            if not ends_without_figures(self._view.job.stop):
                raise
            if not self._without_figures:
                self._context.event("error", f"there are no figures: {error.sentence}", job=self._view.id)
            self._without_figures = True
            return
        record = Measurement(self._view.id, commit, m.examples, sorted_figures(m.figures), False)
        await self.when_room(partial(self._publish, record))

    async def _publish(self, record: Measurement) -> None:
        self._context.ledger.publish(record)

    # ---- what is shown ------------------------------------------------------------------------------

    def _received(self, commit: CommitId) -> float:
        """0..1 of a commit's parameters."""
        blob = self._models.blob_of(commit)
        status = self._context.transfers.status(blob) if blob else None
        return status.held_bytes / max(1, status.size_bytes) if status else 0.0

    def _set_status(self, state: str, progress: float) -> None:
        self._context.set_status(state, progress, self._view.id, self._round)
