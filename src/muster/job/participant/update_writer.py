"""Writes a participant's updates and offers, each in one transaction with the counters that number them.

An update, the residual that it leaves and its sequence number are kept together or not at all.  Whatever
becomes of the update, nothing is put back into the residual.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from muster.algorithms.slimming.form import Form
from muster.compression.codecs.families import parse
from muster.compression.feedback import hand_over, norm
from muster.compression.model import encode_with_feedback, weights_norm
from muster.job.context import Arrays, Context, Facts, TrainingResult
from muster.job.models import residuals
from muster.job.models.folding import weight_of
from muster.job.models.payloads import StagedPayload, stage_payload
from muster.job.models.residuals import Kept, LeftOut
from muster.job.models.store import ModelStore
from muster.job.owner.allowance import Left
from muster.job.view import JobView, KnownPlan
from muster.protocol.ids import CommitId, JobId, NodeId
from muster.protocol.parts import Assignment, Power
from muster.protocol.records import UPDATE_INLINE_BYTES_MAX, Offer, Update
from muster.protocol.validation.limits import SPAN_MAX_MS
from muster.storage.store import Blobs, StagedBlob

GOODPUT_MAX = (1 << 31) - 1
RESIDUAL_RATIO_MAX = 20_000  # tenths: a residual of two thousand updates is as good as any
SHARE_MIN = 0.01  # of a round: a residual is not enlarged more than a hundredfold


class _Counters(msgspec.Struct, array_like=True):
    """This node's own counters in a job."""

    sequence: int = 0
    offer: int = 0
    last_base: bytes = b""
    last_data: tuple[bytes, ...] = ()  # whose samples it was trained on there


def _counters(kept: bytes | None) -> _Counters:
    return msgspec.msgpack.decode(kept, type=_Counters) if kept else _Counters()


class UpdateWriter:
    """Owns this node's counters in one job, and turns what was trained or measured into records.

    Each method keeps its record and returns the call that announces it.  Raises StorageError, with nothing
    kept, when the disk is full.
    """

    def __init__(self, context: Context, view: JobView, models: ModelStore, facts: Facts) -> None:
        self._context, self._view, self._models, self._facts = context, view, models, facts
        self._key = "participant/" + view.id.hex()
        self._counters = _counters(context.store.state(self._key))

    def worked_on(self, base: CommitId, data: tuple[NodeId, ...] = ()) -> bool:
        """Whether this node has made an update on top of `base`, on samples of `data` (none: its own)."""
        me = self._context.node
        if (base, data) == (self._counters.last_base, self._counters.last_data):
            return True
        mine = (u.record for key, u in self._view.updates.items() if key.node == me)
        return any(record.base == base and record.data == data for record in mine)

    def knows_more(self) -> bool:
        """Whether this node's meter has shown what the node draws since its offer, which does not say it."""
        offer = self._view.offers.get(self._context.node)
        return offer is not None and offer.power is None and self._power() is not None

    def _power(self) -> Power | None:
        """What this node draws in this job."""
        return self._context.energy.power(self._context.trainer_share(self._view.asker))

    def keep_offer(self, step_s: float, goodput_bytes_s: float, left: Left) -> Callable[[], None]:
        """Keep an offer with this node's samples, the seconds of a step, the goodput of its last model and
        what is left of what its owner lets others use."""
        context = self._context
        kept = _counters(context.store.state(self._key))
        counters = replace(kept, offer=self._view.next_number(context.node))
        record = Offer(
            self._view.id, context.store.incarnation, counters.offer, self._facts.samples, step_s,
            context.battery(), left.available_s, min(GOODPUT_MAX, int(goodput_bytes_s)),
            self._power(), left.bytes, left.joules, self._facts.steps_max,
        )  # fmt: skip
        with context.store.transaction():
            context.store.set_state(self._key, msgspec.msgpack.encode(counters))
            _, announce = context.ledger.keep_unannounced(record)
        self._counters = counters
        return announce

    async def keep_update(
        self, plan: KnownPlan, piece: Assignment, codec: str, trained: TrainingResult
    ) -> Callable[[], None]:
        """Encode what was trained with error feedback, and keep it as an update. Raises CodecError, too.

        What stands in for others is a message of its own: it neither takes nor leaves a residual.
        """
        context, view, parent = self._context, self._view, plan.record.parent
        store, stands_in = context.store, piece in plan.record.stand_ins
        shape, form = self._models.shape_of(parent), self._models.form_of(parent)
        assert shape is not None
        assert form is not None
        while True:
            before = store.state(self._key)
            self._counters = _counters(before)
            sequence = self._counters.sequence + 1
            counters = replace(self._counters, sequence=sequence, last_base=parent, last_data=piece.data)
            seed = node_seed(view.job.recipe.seed, context.node, counters.sequence)  # errors average out
            up, left = None, None
            if not stands_in:
                up, left = residuals.find(store, "up", view.id), self._left_out(plan)
            share = self._share(plan) if left is not None else 1.0
            try:
                encoded = await context.compute(form.whole_layout.size_bytes)(
                    _encode, store, view.id, form, codec, trained.update, self._own_left_out(up), left, share,
                    seed,
                )  # fmt: skip
            except KeyError:  # this node coordinates again, and has replaced what it left out
                continue
            # a session that has ended may have kept its last update meanwhile
            same = store.state(self._key) == before
            same = same and (stands_in or residuals.find(store, "up", view.id) == up)
            if same and (left is None or self._kept_down() == left.kept):
                break
        millijoules = context.energy.due_mj(view.id)
        with store.transaction():
            store.set_state(self._key, msgspec.msgpack.encode(counters))
            if not stands_in:
                residuals.keep(store, "up", view.id, encoded.residual, shape)
            if left is not None:
                residuals.keep(store, "down", view.id, None)
            record = Update(
                view.id, parent, plan.record.round - 1, store.incarnation, counters.sequence,
                trained.steps, trained.examples, trained.loss, encoded.payload.keep(store),
                encoded.residual_ratio, _milliseconds(trained.step_s * trained.steps), millijoules,
                piece.data,
            )  # fmt: skip
            _, announce = context.ledger.keep_unannounced(record)
        context.energy.charge(view.id, millijoules)
        self._counters = counters
        if view.asker != context.node:
            context.allowance.add_joules(record.millijoules / 1000)
            if not stands_in:
                context.allowance.round_done(view.id)
        if left is not None:
            text = "brings in what its commits left out, now that somebody else coordinates"
            context.event("update", text, job=view.id)
        return announce

    def _left_out(self, plan: KnownPlan) -> LeftOut | None:
        """What this node left out as coordinator and nobody has brought in yet."""
        kept = None if plan.author == self._context.node else self._kept_down()
        return residuals.left_out(kept, self._view.graph, self._models, plan.record.parent)

    def _own_left_out(self, up: Kept | None) -> LeftOut | None:
        """What this node's updates left out."""
        form = self._models.forms.form(up.tag) if up is not None else None
        return LeftOut(up, form) if up is not None and form is not None else None

    def _kept_down(self) -> Kept | None:
        return residuals.find(self._context.store, "down", self._view.id)

    def _share(self, plan: KnownPlan) -> float:
        """The weight that this node's updates have from the planned round on, above 0 and at most 1.

        What was left out is brought in by several updates, so it does not matter that the first round on a
        merge may make a smaller step.
        """
        weight = weight_of(self._context.node, plan.record, self._samples, self._view.job.recipe)
        return min(1.0, max(SHARE_MIN, weight))

    def _samples(self, node: NodeId) -> int:
        """The samples that a node offered; where its offer has not come this far, as many as here."""
        offer = self._view.offers.get(node)
        return offer.samples if offer else self._facts.samples


@dataclass(frozen=True)
class _Encoded:
    payload: StagedPayload
    residual: StagedBlob | None
    residual_ratio: int


def _encode(
    store: Blobs, job: JobId, form: Form, codec: str, update: Arrays, up: LeftOut | None,
    left: LeftOut | None, share: float, seed: int,
) -> _Encoded:  # fmt: skip
    """The message of an update of a model of a form, and the residual that it leaves, written aside.

    Takes long; in any thread.
    """
    before = up.read(store, form) if up is not None else None
    if left is not None:
        before = hand_over(before, left.read(store, form), share)
    sent = encode_with_feedback(parse(codec), form.layout, update, before, seed)
    ratio = _residual_ratio(norm(sent.residual), weights_norm(form.layout, update))
    return _Encoded(
        stage_payload(store, codec, sent.message, UPDATE_INLINE_BYTES_MAX),
        residuals.stage(store, "up", job, sent.residual),
        ratio,
    )


def _milliseconds(seconds: float) -> int:
    """As a record has them: 0 says that nothing is known, so that what was quick took one."""
    return min(SPAN_MAX_MS, max(1, round(1000 * seconds))) if seconds > 0 else 0


def node_seed(seed: int, node: bytes, number: int) -> int:
    """A seed of its own for each node and number, the same in every run."""
    digest = hashlib.sha256(seed.to_bytes(8, "big", signed=True) + node + number.to_bytes(4, "big")).digest()
    return int.from_bytes(digest[:4], "big")


def _residual_ratio(residual: float, update: float) -> int:
    """How many updates' worth of change stayed behind, in tenths."""
    return min(RESIDUAL_RATIO_MAX, round(10 * residual / update)) if update > 0 else 0
