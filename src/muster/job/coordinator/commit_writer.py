"""Writes the history of a job: commits that close rounds, merges of branches, and the closing commit."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from muster.algorithms.slimming.form import Form
from muster.history.counted import Key
from muster.history.credit import stood_for_in
from muster.history.graph import merge_of
from muster.history.point import Point
from muster.history.state import down_bytes
from muster.job.context import Context
from muster.job.coordinator.pool import covered
from muster.job.models import residuals
from muster.job.models.downlink import Downlink, make_downlink
from muster.job.models.folding import RoundContext, post_merge_step_scale
from muster.job.models.line_mean import mean_of_line
from muster.job.models.payloads import DamagedPayload
from muster.job.models.pruning import pruned
from muster.job.models.stand_ins import REPLACED, trained_on_pool
from muster.job.models.store import ModelStore
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.planning.state import UNSTEERED
from muster.protocol.ids import BlobId, CommitId, NodeId, short
from muster.protocol.parts import Cost, Discarded, Folded, Spent, StandIn, Steering
from muster.protocol.records import Commit
from muster.protocol.validation.limits import AGE_MAX_S, tenths

TICKS_A_S = 16  # of a commit's age: a whole number of them is short on the wire


@dataclass(frozen=True)
class RoundEnd:
    """How a round is closed: its commit's `codec`, the round's `momentum`, what its updates cost, who owed
    one and was not waited for, and what its planner carries on. `nearest`: quantised to the nearest."""

    codec: str
    momentum: float
    cost: Callable[[KnownUpdate], Cost]
    missed: Collection[NodeId]
    steering: Steering
    nearest: bool = False


class CommitWriter:
    """Writes commits and merges while this node coordinates, and keeps the job's age."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self.held_since: tuple[bytes, float, float] | None = None  # head, loop time, its age_s

    def age_s(self, head: Point) -> float:
        """The job's age: the head's, advanced by this node's own clock since it came to hold it."""
        if self.held_since is None or self.held_since[0] != head.id:
            self.held_since = (head.id, self._context.now(), head.age_s)
        return self.held_since[2] + self._context.now() - self.held_since[1]

    def _rounded_age_s(self, head: Point) -> float:
        """The age of a commit on `head`: short on the wire, and never early."""
        return min(AGE_MAX_S, math.ceil(self.age_s(head) * TICKS_A_S) / TICKS_A_S)

    async def commit(
        self,
        head: Point,
        updates: list[KnownUpdate],
        discarded: tuple[Discarded, ...],
        end: RoundEnd,
        still: Callable[[], bool],
    ) -> tuple[int, float] | None:
        """Commit a round.

        Returns the delta's bytes and |residual| / |change|: how many rounds' worth it leaves for later ones.
        None, with nothing kept, if `still()` does not hold any more when the sum is made.
        """
        context, view, models, store = self._context, self._view, self._models, self._context.store
        form = models.form_of(head.id)
        assert form is not None
        layout = form.layout
        kept = residuals.find(store, "down", view.id)
        left = residuals.left_out(kept, view.graph, models, head.id)
        previous = self._before(head) if end.momentum else None
        with models.using({head.id} | ({previous} if previous is not None else set())):
            onto = await self._onto(form, head, updates, previous, end.momentum)
            try:
                compute = context.compute(form.whole_layout.size_bytes)
                made = await compute(
                    make_downlink, store, view.id, onto, updates, end.codec, left, end.nearest
                )
            except KeyError:  # another head counts the updates, and their payloads were deleted
                return None
            except DamagedPayload as damaged:
                self._drop_payload(*damaged.args)
                return None
        if not still() or residuals.find(store, "down", view.id) != kept:
            return None
        discarded = tuple(sorted(discarded + made.discarded, key=_key))
        age_s = self._rounded_age_s(head)
        with store.transaction():
            blob, delta = store.put_staged(made.params), made.delta.keep(store) if made.delta else None
            down = down_bytes(layout.blob_bytes, delta)
            samples = self._bytes_of_samples(head, updates, made, down)
            counted = [f.node for f in made.folded] + [n for nodes in made.counts_for for n in nodes]
            joined = self._joined(head, (*counted, *samples))
            roster = (*head.roster, *joined)
            record = Commit(
                view.id, (head.id,), head.round + bool(updates), made.folded, joined,
                tuple(Spent(n, 0, 0, bytes_) for n, bytes_ in samples.items() if bytes_), age_s, blob,
                layout.blob_bytes, delta, made.residual_norm, discarded,
                _costs(made.folded, updates, end), _places(roster, end.missed),
                replace(end.steering, residual_ratio=tenths(made.waiting)) if made.folded else UNSTEERED,
                stand_ins=_stand_ins(roster, made.folded, made.counts_for, updates),
                shape=self._said_shape(head),
            )  # fmt: skip
            record = view.graph.completed(record, context.node)
            commit_id, announce = context.ledger.keep_unannounced(record)
            residuals.keep(store, "down", view.id, made.residual, commit_id)
        models.check([commit_id])  # it may be known already, made again after its parameters were lost
        self.held_since = (commit_id, context.now(), age_s)
        announce()
        self._tell(record, commit_id, roster, counted=bool(updates))
        return down, made.waiting

    def _bytes_of_samples(
        self,
        head: Point,
        updates: Sequence[KnownUpdate],
        made: Downlink,
        model_bytes: int,
    ) -> dict[NodeId, int]:
        """What a commit's stand-ins cost the nodes whose samples they were trained on: the samples, in the
        first commit of a history that counts something trained on them; and the model, where one node trained
        on the samples of all in the place of their updates.
        """
        pooled = {n for u in updates if trained_on_pool(u) for n in u.record.data if n != u.key.node}
        counted = zip(made.folded, made.counts_for, strict=True)
        used = {n for f, nodes in counted for n in nodes if n != f.node} | pooled
        before = covered(self._view, head) if used else set()
        known = self._view.shared
        return {
            n: (0 if n in before else known[n].payload.size_bytes) + (model_bytes if n in pooled else 0)
            for n in sorted(used)
            if n in known
        }

    async def prune(self, head: Point, width: float, still: Callable[[], bool]) -> None:
        """Commit the head's model without its smallest channels; `still` as in `commit`."""
        view, models, store = self._view, self._models, self._context.store
        form = models.form_of(head.id)
        assert form is not None
        with models.using({head.id}):
            compute = self._context.compute(form.layout.size_bytes)
            made = await compute(pruned, store, form, models.reader(head.id), width)
        if not still():
            return
        age_s, layout = self._rounded_age_s(head), made.form.layout
        with store.transaction():
            record = Commit(
                view.id, (head.id,), head.round, (), self._joined(head), (), age_s,
                store.put_staged(made.params), layout.blob_bytes, shape=made.form.to_bytes(),
            )  # fmt: skip
            record = view.graph.completed(record, self._context.node)
            commit_id, announce = self._context.ledger.keep_unannounced(record)
        models.check([commit_id])
        self.held_since = (commit_id, self._context.now(), age_s)
        announce()
        before, after = form.layout.parameters, layout.parameters
        text = f"the model is pruned as {short(commit_id)}: {before:,} parameters become {after:,}"
        self._context.event("commit", text, job=view.id, node=self._context.name_of(self._context.node))

    def _drop_payload(self, blob: BlobId) -> None:
        """An update's payload lost bits since it came: it is fetched again, and the round is closed then."""
        self._context.store.delete_blob(blob)
        text = f"the payload {short(blob)} of an update was damaged on this disk: it is fetched again"
        self._context.event("error", text, job=self._view.id)
        self._context.changes.notify()

    def _tell(self, record: Commit, commit_id: CommitId, roster: Sequence[NodeId], *, counted: bool) -> None:
        context, view = self._context, self._view
        late = sum(f.staleness > 0 for f in record.folded)
        if counted:
            text = f"round {record.round} committed as {short(commit_id)}: {len(record.folded)} updates"
            text += f" ({late} late)" if late else ""
            others = stood_for_in(record, roster).values()
            stood_in = sorted({context.name_of(n) for nodes in others for n in nodes})
            text += f", stand-ins for {', '.join(stood_in)}" if stood_in else ""
            context.event("commit", text, job=view.id, node=context.name_of(context.node))
        for d in record.discarded:
            if d.reason == REPLACED:
                continue
            context.event(
                "error", f"an update of {context.name_of(d.node)} is discarded: {d.reason}", job=view.id
            )

    async def mean_of_line(self, head: Point) -> tuple[BlobId, int]:
        """Store the mean of the line's last models as a blob; its id, and the number of models."""
        made, count = await mean_of_line(self._context, self._view, self._models, head)
        return self._context.store.put_staged(made), count

    def close(self, head: Point, blob: BlobId, over: str = "") -> CommitId:
        """Write the closing commit: it counts nothing new and is no round of its own. `over`: why it ends the
        job, where no limit is reached."""
        context, view, form = self._context, self._view, self._models.form_of(head.id)
        assert form is not None
        age_s = self._rounded_age_s(head)
        record = Commit(
            view.id, (head.id,), head.round, (), self._joined(head), (), age_s, blob,
            form.layout.blob_bytes, over=over, shape=self._said_shape(head),
        )  # fmt: skip
        commit_id = context.ledger.publish(view.graph.completed(record, context.node))
        self._models.check([commit_id])
        self.held_since = (commit_id, context.now(), age_s)
        return commit_id

    async def _onto(
        self, form: Form, head: Point, updates: list[KnownUpdate], previous: CommitId | None, momentum: float
    ) -> RoundContext:
        """What a round on `head` is aggregated on, by what is known now."""
        nodes = {n for u in updates for n in (u.key.node, *u.record.data)}
        samples = {n: self._samples(n) for n in nodes}
        shared = {n: s.stands_for for n, s in self._view.shared.items() if n in nodes}
        models, scale = self._models, post_merge_step_scale(self._view.graph, head)
        shares = {u.record.base: self._part(head, u.record.base) for u in updates}
        forms = {base: found for base in shares if (found := models.form_of(base)) is not None}
        before = None
        if previous is not None and await models.sound(previous):
            of = models.form_of(previous)
            before = (models.reader(previous), of) if of is not None else None
        return RoundContext(
            form, models.reader(head.id), before, head.round, self._view.job.recipe,
            samples.__getitem__, shares.__getitem__, forms.__getitem__, scale, momentum, shared,
        )  # fmt: skip

    def _before(self, head: Point) -> CommitId | None:
        """The model before the head, from which the round momentum comes; that of a pruned head is the one
        before its parent."""
        points = self._view.graph.points
        while self._view.graph.prunes(head):
            head = points[head.parents[0]]
        return head.parents[0] if len(head.parents) == 1 else None

    def _said_shape(self, head: Point) -> bytes:
        """What a commit of the head's shape says of it: nothing, where the history does."""
        return (self._models.shape_of(head.id) or b"") if head.shape is None else b""

    def _part(self, head: Point, base: CommitId) -> float:
        """The share of `base` in the head's parameters; 1 for a commit that another one replaced, counting
        all that it counts."""
        if base == head.id:
            return 1.0
        return min(1.0, self._view.graph.influence(base, head.id)) or 1.0

    def _samples(self, node: NodeId) -> int:
        """Those that a node offered; 0: it has no data, and helps others."""
        offer = self._view.offers.get(node)
        return offer.samples if offer else 1

    def _joined(self, head: Point, others: Iterable[NodeId] = ()) -> tuple[NodeId, ...]:
        """Who joins the roster in a commit on `head`: who offered since, and `others` that it counts."""
        known = set(head.roster)
        return tuple(n for n in dict.fromkeys((*self._view.offers, *others)) if n not in known)

    async def merge(self, a: Point, b: Point, still: Callable[[], bool]) -> None:
        """Merge two heads: compute first and announce then, as others may ask for the model at once.

        Nothing is kept if `still()` does not hold any more when it is computed.
        """
        merge_id, record = merge_of(self._view.id, a.id, b.id)
        with self._models.using({a.id, b.id}):
            compute = self._context.compute(self._models.layout.size_bytes if self._models.layout else 0)
            merged = await compute(self._models.merger(a.id, b.id))
        if not still():
            return
        with self._context.store.transaction():
            self._models.keep_merge(merge_id, merged)
            _, announce = self._context.ledger.keep_unannounced(record)
        announce()
        self._context.event(
            "merge",
            f"branches {short(a.id)} and {short(b.id)} merged as {short(merge_id)}",
            job=self._view.id,
        )


def _costs(folded: Sequence[Folded], updates: Sequence[KnownUpdate], end: RoundEnd) -> tuple[Cost, ...]:
    by_key = {u.key: u for u in updates}
    return tuple(end.cost(by_key[Key(f.node, f.incarnation, f.sequence)]) for f in folded)


def _stand_ins(
    roster: Sequence[NodeId],
    folded: Sequence[Folded],
    counts_for: Sequence[tuple[NodeId, ...]],
    updates: Sequence[KnownUpdate],
) -> tuple[StandIn, ...]:
    """Which of the updates were trained on shared samples, and for whom they count."""
    shared = {u.key for u in updates if u.record.data}
    return tuple(
        StandIn(place, _places(roster, nodes))
        for place, (f, nodes) in enumerate(zip(folded, counts_for, strict=True))
        if Key(f.node, f.incarnation, f.sequence) in shared
    )


def _places(roster: Sequence[NodeId], nodes: Collection[NodeId]) -> tuple[int, ...]:
    return tuple(place for place, node in enumerate(roster) if node in nodes)


def _key(discarded: Discarded) -> Key:
    return Key(discarded.node, discarded.incarnation, discarded.sequence)
