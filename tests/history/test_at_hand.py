"""Records and states of points that are not at hand any more are the same when they are asked for."""

from __future__ import annotations

import random

import pytest

from muster.history import at_hand
from muster.history.counted import Counted
from muster.history.graph import Graph, merge_of
from muster.history.state import State, after, keys_of, merged
from muster.protocol.envelope import id_of
from muster.protocol.ids import NOBODY, CommitId
from muster.protocol.parts import Cost, Folded, Spent
from muster.protocol.records import Commit, Merge

JOB = b"j" * 32
NODES = [bytes([n]) * 32 for n in range(1, 9)]


class History:
    """Branches that meet now and then; everything about each point is kept beside the graph."""

    def __init__(self, points: int, seed: int) -> None:
        self.rng, self.graph = random.Random(seed), Graph()
        self.records: dict[CommitId, Commit | Merge] = {}
        self.states: dict[CommitId, State] = {}
        self.sequences = dict.fromkeys(NODES, 0)
        root = Commit(JOB, (), 0, (), (NODES[0],), (), 0.0, bytes(32), 100)
        self.tips = [self._take(root, None)]
        for _ in range(points):
            self._grow()

    def _grow(self) -> None:
        rng = self.rng
        if len(self.tips) > 1 and rng.random() < 0.1:
            a, b = rng.sample(self.tips, 2)
            commit_id, merge = merge_of(JOB, a, b)
            self.graph.add(commit_id, NOBODY, merge)
            self.records[commit_id] = merge
            self.states[commit_id] = merged(*(self.states[p] for p in merge.parents))
            self.tips = [t for t in self.tips if t not in (a, b)] + [commit_id]
            return
        tip = rng.choice(self.tips)
        before = self.graph.points[tip]
        nodes = sorted(rng.sample(NODES, rng.randint(0, 4)))
        folded = tuple(self._folded(node) for node in nodes)
        costs = tuple(Cost(5, 5, rng.randrange(90), "dense32", 0, rng.randrange(9)) for _ in folded)
        joined = tuple(n for n in nodes if n not in before.roster)
        spent = tuple(Spent(n, 0, 0, 3) for n in nodes[:1])
        record = Commit(
            JOB, (tip,), before.round + bool(folded), folded, joined, spent, before.age_s + 1.0,
            rng.randbytes(32), 100, costs=costs,
        )  # fmt: skip
        made = self._take(record, self.states[tip])
        self.tips = [*(t for t in self.tips if t != tip or rng.random() < 0.05), made]

    def _folded(self, node: bytes) -> Folded:
        self.sequences[node] += 1
        return Folded(node, 1, self.sequences[node], 5, 10, 0, 0.5)

    def _take(self, record: Commit, before: State | None) -> CommitId:
        record = self.graph.completed(record, NODES[0])
        commit_id = id_of(NODES[0], record)
        self.graph.add(commit_id, NODES[0], record)
        self.records[commit_id] = record
        self.states[commit_id] = after(before, record, NODES[0])
        return commit_id


@pytest.mark.parametrize("seed", range(4))
def test_what_left_the_memory_is_as_it_was(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_hand, "AT_HAND", 4)
    monkeypatch.setattr(at_hand, "KEPT_EVERY", 5)
    history = History(200, seed)
    assert not history.graph.refused
    ids = list(history.graph.points)
    history.rng.shuffle(ids)
    for commit_id in ids:
        point, state = history.graph.points[commit_id], history.states[commit_id]
        assert point.record == history.records[commit_id]
        assert point.counted == state.counted
        assert point.spent == tuple(sorted(state.spent.values()))


def test_a_roster_that_nobody_joins_is_the_same_object() -> None:
    """Ten thousand rounds of a thousand nodes would be 80 MB of pointers."""
    history = History(50, 1)
    points = history.graph.points
    for point in points.values():
        if len(point.parents) == 1 and not history.records[point.id].joined:  # type: ignore[union-attr]
            assert point.roster is points[point.parents[0]].roster


def test_memory_grows_with_what_is_at_hand_and_with_packed_records() -> None:
    history = History(3 * at_hand.AT_HAND, 2)
    kept = history.graph._at_hand
    assert len(kept._records) == at_hand.AT_HAND
    assert len(kept._states) <= at_hand.AT_HAND
    assert len(kept._kept) < 10
    keys = [k for r in history.records.values() if isinstance(r, Commit) for k in keys_of(r)]
    assert Counted.of(keys) == Counted.of(k for t in history.tips for k in history.graph.points[t].counted)
