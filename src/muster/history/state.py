"""What a history amounts to at one of its points: the updates that it counts, and what each node spent.

A commit carries changes only.  What they add up to follows from the commits before, the same on every node,
so each commit of every `DIGEST_ROUNDS`th round carries the hash of it (`digest`): who derives something else
notices.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec

from muster.history.counted import Counted, Key
from muster.protocol.ids import NodeId
from muster.protocol.parts import Payload, Spent
from muster.protocol.records import Commit
from muster.protocol.validation.limits import FIGURE_MAX, counter


@dataclass(frozen=True)
class State:
    """The counted set and the counters of a history; never changed."""

    counted: Counted
    spent: dict[NodeId, Spent]

    @cached_property
    def rows(self) -> tuple[Spent, ...]:
        """The counters, sorted by node."""
        return tuple(self.spent[node] for node in sorted(self.spent))


def keys_of(commit: Commit) -> list[Key]:
    """The updates that a commit settles: those that it folds, then those that it discards."""
    keys = [Key(f.node, f.incarnation, f.sequence) for f in commit.folded]
    return keys + [Key(d.node, d.incarnation, d.sequence) for d in commit.discarded]


def after(before: State | None, commit: Commit, author: NodeId) -> State:
    """The state behind a commit; `before`: its parent's, None for a first commit."""
    if before is None:
        return State(Counted.of(keys_of(commit)), _spent_after({}, commit, author))
    keys = keys_of(commit)
    if not keys and not commit.spent:
        return before
    return State(before.counted.plus(keys), _spent_after(before.spent, commit, author))


def down_bytes(params_bytes: int, delta: Payload | None) -> int:
    """What one copy of a commit's model costs a node that has its parent's."""
    return min(params_bytes, delta.size_bytes) if delta else params_bytes


def _spent_after(before: dict[NodeId, Spent], commit: Commit, author: NodeId) -> dict[NodeId, Spent]:
    """Each counted update costs its author its steps, its own bytes up, one model down, and the joules that
    it says; one that the coordinator trained in the place of others did not travel."""
    spent = dict(before)
    down, in_place = down_bytes(commit.params_bytes, commit.delta), {s.place for s in commit.stand_ins}
    costs = commit.costs or (None,) * len(commit.folded)
    for place, (f, cost) in enumerate(zip(commit.folded, costs, strict=True)):
        stays = cost is None or (place in in_place and f.node == author)
        bytes_ = 0 if stays or cost is None else cost.size_bytes + down
        joules = cost.millijoules / 1000 if cost is not None else 0.0
        _add(spent, Spent(f.node, f.steps, f.examples, bytes_, joules))
    for more in commit.spent:
        _add(spent, more)
    return spent


def _add(spent: dict[NodeId, Spent], more: Spent) -> None:
    s = spent.get(more.node)
    if s is None:
        s = Spent(more.node, 0, 0, 0)
    spent[more.node] = Spent(
        s.node, counter(s.steps + more.steps), counter(s.examples + more.examples),
        counter(s.bytes + more.bytes), min(FIGURE_MAX, s.joules + more.joules),
    )  # fmt: skip


def merged(a: State, b: State) -> State:
    """Of a merge: the union of what its parents count, and counters by maximum, node by node."""
    if a is b:
        return a
    spent = dict(a.spent)
    for node, s in b.spent.items():
        t = spent.get(node)
        if t is None:
            spent[node] = s
        elif s is not t:
            spent[node] = Spent(
                node, max(s.steps, t.steps), max(s.examples, t.examples),
                max(s.bytes, t.bytes), max(s.joules, t.joules),
            )  # fmt: skip
    return State(a.counted.union(b.counted), spent)


def digest(state: State, roster: tuple[NodeId, ...]) -> bytes:
    """SHA-256 of the whole state in MessagePack: counted ranges in order, roster, counters by node.

    Written out field by field, so that a struct that gets another field changes no digest.
    """
    counted = [(r.node, r.incarnation, r.first, r.last) for r in state.counted.ranges()]
    spent = [(s.node, s.steps, s.examples, s.bytes, s.joules) for s in state.rows]
    return hashlib.sha256(msgspec.msgpack.encode((counted, roster, spent))).digest()
