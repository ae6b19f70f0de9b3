"""The participant's side of a job: offer, train what a plan asks, keep the update until it is counted
(design sections 5.1 to 5.3)."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from muster.algorithms.learning_rate import learning_rate
from muster.compression.codecs.families import parse
from muster.compression.feedback import hand_over, norm
from muster.compression.model import encode_with_feedback, flatten
from muster.history.graph import Point
from muster.job.context import (
    Context,
    ContributionResult,
    EvaluationResult,
    Facts,
    TrainerLike,
    TrainingResult,
)
from muster.job.models import residuals
from muster.job.models.fetching import JobFetcher
from muster.job.models.folding import weight_of
from muster.job.models.payloads import UPDATE_INLINE_BYTES_MAX, keep_payload
from muster.job.models.residuals import Vector
from muster.job.models.store import ModelStore
from muster.job.participant.trainer_lock import TrainerLock
from muster.job.roles import open_plans
from muster.job.view import JobView, KnownPlan
from muster.protocol.records import BlobId, CommitId, Measurement, NodeId, Offer, Payload, Update
from muster.storage.store import StorageError

T = TypeVar("T")
MERGE_LOOK_S = 1.0  # between two looks whether a merge is still to be waited for
RECEIVING_LOOK_S = 0.25  # how often the progress of a model on its way here is told
GOODPUT_MAX = (1 << 31) - 1
RESIDUAL_RATIO_MAX = 20_000  # tenths: a residual of two thousand updates is as good as any
SHARE_MIN = 0.01  # of a round: a residual is not blown up more than a hundredfold
TRAINED_LAST = 3  # rounds whose steps tell how fast this node is
OFFER_ANEW = 1.5  # times faster or slower than it offered,
OFFER_ANEW_S = 0.5  # and by so much in a round: less changes no plan (`rounds.SLACK_MIN_S`)
ROOM_RETRY_S = 2.0  # between two tries to write to a full disk


class _Progress(msgspec.Struct, array_like=True):
    """This node's own counters in a job, kept with each update in one transaction."""

    sequence: int = 0
    offer: int = 0
    last_base: bytes = b""


@dataclass
class Work:
    """What the trainer is doing, for the status view."""

    round: int = 0
    step_s: float | None = None


class Participant:
    """One node's work for one job."""

    def __init__(
        self,
        context: Context,
        view: JobView,
        models: ModelStore,
        fetcher: JobFetcher,
        trainer: TrainerLike,
        facts: Facts,
    ) -> None:
        self._context, self._view, self._models, self._fetcher = context, view, models, fetcher
        self._trainer, self.facts = trainer, facts
        self.work = Work()
        self.working_on: CommitId | None = None  # its parameters are in use
        self.measuring: list[BlobId] = []  # being evaluated, or waiting for the trainer
        self._key = "participant/" + view.id.hex()
        kept = context.store.state(self._key)
        self._counters = msgspec.msgpack.decode(kept, type=_Progress) if kept else _Progress()
        self._turn = TrainerLock()
        self.waits_for_room = False  # for something that is done here and has to be kept
        self._lately_s: deque[float] = deque(maxlen=TRAINED_LAST)  # seconds of a step, since the offer
        self._apart_since_s: float | None = None  # since when this node holds several heads

    async def offer(self) -> None:
        """Answer the call for help with what was measured here."""
        await self._offer(await self._trainer.measure_speed(self._view.job.recipe.batch))

    async def _offer(self, step_s: float) -> None:
        self.work.step_s = step_s
        self._lately_s.clear()
        announce = await self.when_room(lambda: self._keep_offer(step_s))
        announce()
        self._context.event(
            "offer", f"offers {self.facts.samples} samples, {1 / step_s:.0f} steps/s", job=self._view.id
        )

    def _keep_offer(self, step_s: float) -> Callable[[], None]:
        context = self._context
        counters = replace(self._counters, offer=self._view.next_number(context.node))
        record = Offer(
            self._view.id, context.store.incarnation, counters.offer, self.facts.samples, step_s,
            context.battery(), goodput_bytes_s=min(GOODPUT_MAX, int(self._fetcher.goodput_bytes_s)),
        )  # fmt: skip
        with context.store.transaction():
            context.store.set_state(self._key, msgspec.msgpack.encode(counters))
            _, announce = context.ledger.keep_unannounced(record)
        self._counters = counters
        return announce

    async def run(self) -> None:
        while True:
            plan = self._next()
            if plan is None:
                self._say("idle", 0.0)
                await self._context.changes.wait(MERGE_LOOK_S if self._apart_since_s is not None else None)
            elif not self._models.held(plan.record.parent):
                self.work.round = plan.record.round
                self._say("receiving", self._received(plan.record.parent))
                await self._context.changes.wait(RECEIVING_LOOK_S)
            else:
                try:
                    await self._train(plan)
                finally:
                    self.working_on = None

    def _received(self, commit: CommitId) -> float:
        """0..1 of a commit's parameters."""
        blob = self._models.blob_of(commit)
        status = self._context.transfers.status(blob) if blob else None
        return status.held_bytes / max(1, status.size_bytes) if status else 0.0

    def _next(self) -> KnownPlan | None:
        held = self._models.heads()
        if any(self._view.finished(h) for h in held) or self._merge_due(held):
            return None
        for heads in (held, self._models.known_heads()):  # what can be done now goes first
            plans = open_plans(self._view, self._context.node, self._worked_on, heads)
            if plans:
                return plans[0]
        return None

    def _merge_due(self, held: Sequence[Point]) -> bool:
        """Whether this node holds branches that a coordinator is about to merge: what it would train on one
        of them now would pull the merge towards that one, most of all on the branch of others."""
        if len(held) < 2:
            self._apart_since_s = None
            return False
        if self._apart_since_s is None:
            self._apart_since_s = self._context.now()
        return self._context.now() - self._apart_since_s < self._view.job.patience_s

    def _worked_on(self, base: CommitId) -> bool:
        me = self._context.node
        return base == self._counters.last_base or any(
            u.record.base == base for k, u in self._view.updates.items() if k.node == me
        )

    async def _train(self, plan: KnownPlan) -> None:
        context, view = self._context, self._view
        assignment = next(a for a in plan.record.assignments if a.node == context.node)
        parent = plan.record.parent
        recipe = view.job.recipe
        blob = self._models.blob_of(parent)
        assert blob is not None
        self.working_on = parent
        self.work.round = plan.record.round
        self._say("training", 0.0)
        began_s = context.now()
        async with self._turn.exclusive():
            if not self.facts.has_common:
                await self._measure_own(parent)
            trained = await self._trainer.train(
                blob,
                steps=assignment.steps,
                lr=learning_rate(recipe, plan.record.round, view.job.stop.rounds),
                batch=recipe.batch,
                momentum=recipe.momentum,
                seed=_seed(recipe.seed, context.node, plan.record.round),
                progress=lambda done: self._say("training", done),
            )
        took_s = context.now() - began_s
        announce = await self.when_room(lambda: self._keep_update(plan, assignment.codec, trained))
        announce()
        self._say("sending", 0.0)
        context.event(
            "update",
            f"trained {trained.steps} steps for round {plan.record.round} in {took_s:.2f} s, "
            f"loss {trained.loss:.3f}",
            job=view.id,
        )
        await self._learn_speed(trained.step_s)

    async def _learn_speed(self, step_s: float) -> None:
        """Offer anew when the steps take something else than was measured before the first one, perhaps while
        all nodes of a machine got ready at once: plans would give this node too few steps all the time."""
        self._lately_s.append(step_s)
        found_s, offered_s = median(self._lately_s), self.work.step_s
        if len(self._lately_s) < TRAINED_LAST or not offered_s:
            return
        times = max(found_s / offered_s, offered_s / found_s)
        off_s = abs(found_s - offered_s) * self._view.job.recipe.steps
        if times > OFFER_ANEW and off_s > OFFER_ANEW_S:
            await self._offer(found_s)

    def _keep_update(self, plan: KnownPlan, codec: str, trained: TrainingResult) -> Callable[[], None]:
        """Update, new residual and sequence number in one transaction (design 5.3)."""
        context, view, parent = self._context, self._view, plan.record.parent
        residual = residuals.load(context.store, "up", view.id)
        left = None if plan.author == context.node else self._left_out(plan)
        if left is not None:
            residual = hand_over(residual, left, self._share(plan))
        counters = replace(self._counters, sequence=self._counters.sequence + 1, last_base=parent)
        seed = _seed(view.job.recipe.seed, context.node, counters.sequence)  # so that errors average out
        sent = encode_with_feedback(parse(codec), self.facts.layout, trained.update, residual, seed)
        with context.store.transaction():
            context.store.set_state(self._key, msgspec.msgpack.encode(counters))
            residuals.keep(context.store, "up", view.id, sent.residual)
            if left is not None:
                residuals.keep(context.store, "down", view.id, None)
            record = Update(
                view.id, parent, plan.record.round - 1, context.store.incarnation, counters.sequence,
                trained.steps, trained.examples, trained.loss,
                keep_payload(context.store, codec, sent.message, UPDATE_INLINE_BYTES_MAX),
                _residual_ratio(norm(sent.residual), norm(flatten(self.facts.layout, trained.update))),
            )  # fmt: skip
            _, announce = context.ledger.keep_unannounced(record)
        self._counters = counters
        if left is not None:
            text = "brings in what its commits left out, now that somebody else coordinates"
            context.event("update", text, job=view.id)
        return announce

    def _left_out(self, plan: KnownPlan) -> Vector | None:
        """What this node left out as coordinator and nobody has brought in yet."""
        return residuals.left_out(self._context.store, self._view.id, self._view.graph, plan.record.parent)

    def _share(self, plan: KnownPlan) -> float:
        """The weight that this node's updates have from the planned round on, above 0 and at most 1. What it
        is for comes by several updates: that the first round on a merge may be slower does not matter."""
        weight = weight_of(self._context.node, plan.record, self._samples, self._view.job.recipe)
        return min(1.0, max(SHARE_MIN, weight))

    def _samples(self, node: NodeId) -> int:
        """Of a node whose offer has not come this far: as many as here."""
        offer = self._view.offers.get(node)
        return offer.samples if offer else self.facts.samples

    async def when_room(self, write: Callable[[], T]) -> T:
        """What was trained is not thrown away because the disk is full: say so, and wait for room."""
        try:
            while True:
                try:
                    return write()
                except StorageError as error:
                    if not self.waits_for_room:
                        self._context.event("error", f"waits for room: {error}", job=self._view.id)
                    self.waits_for_room = True
                    await asyncio.sleep(ROOM_RETRY_S)
        finally:
            self.waits_for_room = False

    async def evaluate(
        self, blob: BlobId, limit: int | None = None, target: float | None = None
    ) -> EvaluationResult:
        """A model on the task's common set, of which `limit` examples do while they are below `target`; it
        may have to wait for a whole round to be trained."""
        self.measuring.append(blob)
        try:
            async with self._turn.exclusive():
                m = await self._trainer.evaluate(blob, "common", limit)
                if limit is not None and target is not None and m.correct >= target * m.examples:
                    m = await self._trainer.evaluate(blob, "common")
                return m
        finally:
            self.measuring.remove(blob)

    def owes(self, base: CommitId) -> bool:
        """Whether this node is to train on top of `base` and has not done so."""
        plan = self._next()
        return self.working_on == base or (plan is not None and plan.record.parent == base)

    def idle(self) -> bool:
        """Whether the trainer has nothing to do: it is nobody's turn, and no plan waits."""
        return self._turn.free and self._next() is None

    async def value(
        self,
        base: BlobId,
        updates: Sequence[tuple[float, Payload]],
        which: str,
        limit: int,
        *,
        background: bool,
    ) -> tuple[float, ContributionResult] | None:
        """What updates were worth on top of `base`, and the seconds that it took; `background`: None when
        it gave way to something else."""

        async def work() -> tuple[float, ContributionResult]:
            began_s = self._context.now()
            valued = await self._trainer.value(base, updates, which, limit)
            return self._context.now() - began_s, valued

        if background:
            return await self._turn.background(work)
        async with self._turn.exclusive():
            return await work()

    async def _measure_own(self, commit: CommitId) -> None:
        blob = self._models.blob_of(commit)
        assert blob is not None
        m = await self._trainer.evaluate(blob, "own")
        record = Measurement(self._view.id, commit, m.examples, m.correct, m.loss_sum, False)
        await self.when_room(lambda: self._context.ledger.publish(record))

    def _say(self, state: str, progress: float) -> None:
        self._context.set_status(state, progress, self._view.id, self.work.round)


def _residual_ratio(residual: float, update: float) -> int:
    """Updates' worth of change that stayed behind, in tenths."""
    return min(RESIDUAL_RATIO_MAX, round(10 * residual / update)) if update > 0 else 0


def _seed(seed: int, node: bytes, number: int) -> int:
    """A seed of its own for each node and number, the same in every run."""
    digest = hashlib.sha256(seed.to_bytes(8, "big", signed=True) + node + number.to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big")
