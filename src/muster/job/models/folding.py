"""Aggregates a round's updates into a commit's content: a pure function of the updates and their weights.

Updates are read from disk one at a time in key order and added in fp64 (docs/algorithms.md).  One that does
not fit is discarded with its reason, and the weights are worked out again without it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from muster.algorithms import aggregation, server_step
from muster.algorithms.aggregation import UpdateMeta
from muster.algorithms.slimming.form import Form
from muster.compression.codec import CodecError, Message
from muster.compression.model import decode_update
from muster.compression.tensors import Array, Layout, TensorError
from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.models.stand_ins import HELPED, REPLACED, counts_for, samples_of
from muster.job.uncounted import KnownUpdate
from muster.protocol.ids import CommitId, NodeId
from muster.protocol.parts import Discarded, Folded, Recipe
from muster.protocol.records import Plan

Arrays = dict[str, Any]
ROUNDS_APART_MIN = 2  # that each parent of a merge has alone: single updates carried over are no branch
POST_MERGE_STEP_SCALE = 0.7  # of the step of the first round on a merge of such branches


@dataclass(frozen=True)
class Outcome:
    """The new parameters, which updates are in them with which weight, for whom each counts, and which were
    discarded why."""

    params: Arrays
    folded: tuple[Folded, ...]
    counts_for: tuple[tuple[NodeId, ...], ...]  # in the order of `folded`
    discarded: tuple[Discarded, ...]


@dataclass(frozen=True)
class RoundContext:
    """What a round is aggregated on, and by which recipe.

    `base` are the head's parameters, of the form `form`, and `previous` those of the round before, in their
    own form, where they are needed and held.  `form_of` is that of the commit that an update was made on.
    `ancestor_share` says how much of an older commit is in `base`, and `post_merge_step_scale` how much of
    its step the round makes; both above 0 and at most 1.  `samples` are those that a node offered, `shared`
    as many of them as others may stand in for.
    """

    form: Form
    base: Callable[[], Arrays]  # reads them
    previous: tuple[Callable[[], Arrays], Form] | None
    round: int  # of the head
    recipe: Recipe
    samples: Callable[[NodeId], int]
    ancestor_share: Callable[[CommitId], float]
    form_of: Callable[[CommitId], Form]
    post_merge_step_scale: float = 1.0
    momentum: float = 0.0  # of the round
    shared: Mapping[NodeId, int] = field(default_factory=dict)


class _Invalid(Exception):
    """The update at place `at` cannot be counted."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at, self.reason = at, reason


def post_merge_step_scale(graph: Graph, head: Point) -> float:
    """How much of its step the round on `head` makes: less on a merge of branches that grew apart.

    A full step from there is half noise: what the sides learn from the other's part is large, and pulls
    against one another (two halves of MNIST's classes, eight rounds apart: at worst 4.1 points are missing
    after a full step, and 3.0 after 0.7 of it).
    """
    grew_apart = head.is_merge and graph.rounds_apart(head) >= ROUNDS_APART_MIN
    return POST_MERGE_STEP_SCALE if grew_apart else 1.0


def weight_of(node: NodeId, plan: Plan, samples: Callable[[NodeId], int], recipe: Recipe) -> float:
    """The weight that a node's update will have in a planned round if all that is assigned comes in time."""
    work = (*plan.assignments, *plan.stand_ins)
    several = Counter(n for a in work for n in a.data or (a.node,))
    held = (sum(max(1, samples(n)) / several[n] for n in a.data or (a.node,)) for a in work)
    meta = [UpdateMeta(n, a.steps, momentum=recipe.momentum) for n, a in zip(held, work, strict=True)]
    weighed = aggregation.weights(meta)
    at = [a.node for a in plan.assignments].index(node)
    return recipe.server_lr * weighed.shares[at] * weighed.scale


def fold(
    context: RoundContext, updates: Sequence[KnownUpdate], read: Callable[[KnownUpdate], Message]
) -> Outcome:
    """Aggregate `updates` (in key order) on top of the head; `read` yields an update's message."""
    discarded: dict[int, str] = {}
    while True:
        valid = [u for i, u in enumerate(updates) if i not in discarded]
        named = counts_for(valid, lambda node: context.samples(node) == 0)
        nodes = dict(zip((u.key for u in valid), named, strict=True))
        kept = [u for u in valid if nodes[u.key]]
        try:
            params, folded = _attempt(context, kept, [nodes[u.key] for u in kept], read)
            break
        except _Invalid as invalid:
            discarded[updates.index(kept[invalid.at])] = invalid.reason
    discarded |= {
        i: REPLACED if u.record.data else HELPED
        for i, u in enumerate(updates)
        if i not in discarded and not nodes[u.key]
    }
    gone = tuple(Discarded(*updates[i].key, reason) for i, reason in sorted(discarded.items()))
    return Outcome(params, folded, tuple(nodes[u.key] for u in kept), gone)


def _attempt(
    context: RoundContext, updates: Sequence[KnownUpdate], nodes: Sequence[Sequence[NodeId]],
    read: Callable[[KnownUpdate], Message],
) -> tuple[Arrays, tuple[Folded, ...]]:  # fmt: skip
    """The new parameters and what is in them. Raises _Invalid for the first update that does not fit.

    `nodes`: those that each update counts for.
    """
    layout, recipe = context.form.layout, context.recipe
    if not updates:
        return context.base(), ()
    staleness = [max(0, context.round - u.record.base_round) for u in updates]
    samples = samples_of(
        updates, nodes, lambda node: max(1, context.samples(node)),
        lambda node: context.shared.get(node, 1),
    )  # fmt: skip
    meta = [
        UpdateMeta(n, u.record.steps, stale, recipe.momentum, context.ancestor_share(u.record.base))
        for u, stale, n in zip(updates, staleness, samples, strict=True)
    ]
    weighed = aggregation.weights(meta)
    scale = weighed.scale * context.post_merge_step_scale
    state = aggregation.init(layout)
    for i, (update, share) in enumerate(zip(updates, weighed.shares, strict=True)):
        try:
            state = aggregation.accumulate(state, _change(context, update, read), share)
        except (TensorError, CodecError) as error:
            raise _Invalid(i, "the update does not fit the model or is not finite") from error
    try:
        params, _ = server_step.apply(
            server_step.init(_previous(context)),
            context.base(),
            state,
            recipe.server_lr * scale,
            server_momentum=context.momentum,
        )
    except TensorError as error:  # each is finite, together they are not: the largest is to blame
        peaks = [
            share * _peak(layout, _change(context, update, read))
            for update, share in zip(updates, weighed.shares, strict=True)
        ]
        raise _Invalid(peaks.index(max(peaks)), "the update makes the model infinite") from error
    folded = tuple(
        Folded(*u.key, u.record.steps, u.record.examples, stale, share * scale)
        for u, stale, share in zip(updates, staleness, weighed.shares, strict=True)
    )
    return params, folded


def _change(
    context: RoundContext, update: KnownUpdate, read: Callable[[KnownUpdate], Message]
) -> Mapping[str, Array]:
    """What an update changes, of the head's form."""
    old = context.form_of(update.record.base)
    return context.form.change(decode_update(old.layout, read(update)), old, context.base)


def _previous(context: RoundContext) -> Mapping[str, Array] | None:
    if context.previous is None:
        return None
    read, form = context.previous
    return context.form.params(read(), form)


def _peak(layout: Layout, arrays: Mapping[str, Array]) -> float:
    """The largest magnitude of all weights; a mean of statistics cannot overflow."""
    floats = (arrays[s.name] for s in layout.tensors if s.floating and s.learnt and s.size)
    return max((float(abs(a).max()) for a in floats), default=0.0)
