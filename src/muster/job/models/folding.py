"""Updates in, a commit's content out: a pure function of the updates and their weights (design section 5.4).

Updates are read from disk one at a time in key order and folded in fp64; one that does not fit is discarded
with its reason, and the weights are worked out anew without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from muster.algorithms import aggregation, server
from muster.algorithms.aggregation import UpdateMeta
from muster.compression.codec import CodecError
from muster.compression.model import decode_update
from muster.compression.tensors import Layout, TensorError
from muster.history.graph import Graph, Point, join_spent
from muster.job.view import KnownUpdate
from muster.protocol.records import CommitId, Discarded, Folded, NodeId, Plan, Recipe, Spent

Arrays = dict[str, Any]
ROUNDS_APART_MIN = 2  # that each branch of a merge did alone: single updates carried over are no branch
POST_MERGE_STEP_SCALE = 0.7  # of a round's step, in the first one on such a merge


@dataclass(frozen=True)
class Outcome:
    """What a round yields: the new parameters, and what is on record about it."""

    params: Arrays
    folded: tuple[Folded, ...]
    discarded: tuple[Discarded, ...]


@dataclass(frozen=True)
class RoundContext:
    """The head that a round is aggregated on.

    `round` is the head's.  `ancestor_share` says how much of an older commit is in the head's parameters, and
    `post_merge_step_scale` how much of its step a round makes on the head; both above 0 and at most 1.
    """

    round: int
    ancestor_share: Callable[[CommitId], float]
    post_merge_step_scale: float = 1.0


class _Invalid(Exception):
    """The update at place `at` cannot be counted."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(reason)
        self.at, self.reason = at, reason


def post_merge_step_scale(graph: Graph, head: Point) -> float:
    """What part of its step a round makes on `head`.

    A full step from between two branches that grew apart is half noise: what the sides learn from the other's
    part is large, and pulls against one another (two halves of MNIST's classes, eight rounds apart: at worst
    4.1 points are missing after it, after 0.7 of it 3.0; docs/reliability.md)."""
    grown = head.is_merge and graph.rounds_apart(head) >= ROUNDS_APART_MIN
    return POST_MERGE_STEP_SCALE if grown else 1.0


def weight_of(node: NodeId, plan: Plan, samples: Callable[[NodeId], int], recipe: Recipe) -> float:
    """What a node's update is multiplied by in a planned round, if all that is assigned comes in time."""
    work = [UpdateMeta(max(1, samples(a.node)), a.steps, momentum=recipe.momentum) for a in plan.assignments]
    weighed = aggregation.weights(work)
    at = [a.node for a in plan.assignments].index(node)
    return recipe.server_lr * weighed.shares[at] * weighed.scale


def fold(
    layout: Layout,
    base: Arrays,
    previous: Arrays | None,
    head: RoundContext,
    updates: Sequence[KnownUpdate],
    samples: Callable[[NodeId], int],
    read: Callable[[KnownUpdate], bytes],
    recipe: Recipe,
) -> Outcome:
    """Fold `updates` (in key order) on top of `base`; `previous` are the parameters of base's parent."""
    discarded: dict[int, str] = {}
    while True:
        kept = [u for i, u in enumerate(updates) if i not in discarded]
        try:
            params, folded = _attempt(layout, base, previous, head, kept, samples, read, recipe)
            break
        except _Invalid as invalid:
            discarded[updates.index(kept[invalid.at])] = invalid.reason
    gone = tuple(Discarded(*updates[i].key, reason) for i, reason in sorted(discarded.items()))
    return Outcome(params, folded, gone)


def _attempt(
    layout: Layout,
    base: Arrays,
    previous: Arrays | None,
    head: RoundContext,
    updates: Sequence[KnownUpdate],
    samples: Callable[[NodeId], int],
    read: Callable[[KnownUpdate], bytes],
    recipe: Recipe,
) -> tuple[Arrays, tuple[Folded, ...]]:
    """The folded round. Raises _Invalid."""
    if not updates:
        return base, ()
    ages = [max(0, head.round - u.record.base_round) for u in updates]
    work = [
        UpdateMeta(
            max(1, samples(u.key.node)),
            u.record.steps,
            age,
            recipe.momentum,
            head.ancestor_share(u.record.base),
        )
        for u, age in zip(updates, ages, strict=True)
    ]
    weighed = aggregation.weights(work)
    scale = weighed.scale * head.post_merge_step_scale
    state = aggregation.init(layout)
    for i, (update, share) in enumerate(zip(updates, weighed.shares, strict=True)):
        try:
            state = aggregation.accumulate(state, decode_update(layout, read(update)), share)
        except (TensorError, CodecError) as error:
            raise _Invalid(i, "the update does not fit the model or is not finite") from error
    try:
        params, _ = server.apply(
            server.init(previous),
            base,
            state,
            recipe.server_lr * scale,
            server_momentum=recipe.server_momentum,
        )
    except TensorError as error:  # each is finite, together they are not: the largest is to blame
        peaks = [
            share * _peak(layout, decode_update(layout, read(update)))
            for update, share in zip(updates, weighed.shares, strict=True)
        ]
        raise _Invalid(peaks.index(max(peaks)), "the update makes the model infinite") from error
    folded = tuple(
        Folded(*u.key, u.record.steps, u.record.examples, age, share * scale)
        for u, age, share in zip(updates, ages, weighed.shares, strict=True)
    )
    return params, folded


def _peak(layout: Layout, arrays: Arrays) -> float:
    """The largest magnitude of all weights and statistics."""
    floats = (arrays[s.name] for s in layout.tensors if s.floating and s.size)
    return max((float(abs(a).max()) for a in floats), default=0.0)


def spent_after(
    head: Point, folded: Sequence[Folded], updates: Sequence[KnownUpdate], down_bytes: int
) -> tuple[Spent, ...]:
    """The counters after a commit: each counted update costs its own bytes up and one model down."""
    size = {u.key: u.record.payload.size_bytes for u in updates}
    known = {s.node: s for s in head.spent}
    for f in folded:
        s = known.get(f.node, Spent(f.node, 0, 0, 0))
        cost = size[(f.node, f.incarnation, f.sequence)] + down_bytes  # type: ignore[index]
        known[f.node] = Spent(f.node, s.steps + f.steps, s.examples + f.examples, s.bytes + cost, s.joules)
    return join_spent(known.values(), ())
