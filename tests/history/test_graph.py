from __future__ import annotations

import hashlib
import random
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from muster.history.counted import Counted
from muster.history.graph import Graph, merge_of
from muster.protocol.ids import NOBODY, CommitId, NodeId
from muster.protocol.parts import Folded, Spent
from muster.protocol.records import Commit, Merge

JOB = b"j" * 32
A, B, C = b"A" * 32, b"B" * 32, b"C" * 32
Made = list[tuple[CommitId, NodeId, Commit | Merge]]


def identify(text: str) -> CommitId:
    return hashlib.sha256(text.encode()).digest()


class Maker:
    """Makes commits as coordinators do, and keeps them in order."""

    def __init__(self) -> None:
        self.made: Made = []
        self.graph = Graph()
        self.sequences: dict[NodeId, int] = {}

    def _keep(self, commit: CommitId, author: NodeId, record: Commit | Merge) -> CommitId:
        self.made.append((commit, author, record))
        self.graph.add(commit, author, record)
        return commit

    def root(self) -> CommitId:
        record = Commit(JOB, (), 0, (), (A,), (), 0.0, b"p" * 32, 100)
        return self._keep(identify("root"), A, record)

    def commit(self, parent: CommitId, *nodes: NodeId, examples: int = 10) -> CommitId:
        """Counts one new update of each of `nodes`."""
        before = self.graph.points[parent]
        folded = []
        for node in sorted(nodes):
            self.sequences[node] = self.sequences.get(node, 0) + 1
            folded.append(Folded(node, 1, self.sequences[node], 5, examples, 0, 1.0 / len(nodes)))
        spent = tuple(Spent(f.node, 0, 0, 10) for f in folded)
        joined = tuple(n for n in sorted(nodes) if n not in before.roster)
        record = Commit(
            JOB, (parent,), before.round + 1, tuple(folded), joined, spent, before.age_s + 1.0, b"p" * 32, 100
        )
        return self._keep(identify(f"{len(self.made)}"), nodes[0] if nodes else A, record)

    def merge(self, a: CommitId, b: CommitId) -> CommitId:
        commit, record = merge_of(JOB, a, b)
        return self._keep(commit, NOBODY, record)


def everything(_: CommitId) -> bool:
    return True


def test_a_line_has_one_head() -> None:
    m = Maker()
    last = m.commit(m.commit(m.root(), A, B), A, B)
    assert [h.id for h in m.graph.heads(everything)] == [last]
    assert m.graph.points[last].round == 2


def test_only_held_points_are_considered() -> None:
    m = Maker()
    first = m.commit(m.root(), A)
    last = m.commit(first, A)
    assert [h.id for h in m.graph.heads(lambda c: c != last)] == [first]


def test_a_larger_counted_set_replaces_a_head_that_is_no_ancestor() -> None:
    m = Maker()
    root = m.root()
    small = m.commit(root, A)
    m.sequences.clear()
    large = m.commit(root, A, B)
    assert m.graph.points[large].counted >= m.graph.points[small].counted
    assert [h.id for h in m.graph.heads(everything)] == [large]


def test_of_equal_sets_the_lower_id_stays() -> None:
    m = Maker()
    root = m.root()
    one = m.commit(root, A)
    m.sequences.clear()
    two = m.commit(root, A)
    assert [h.id for h in m.graph.heads(everything)] == [min(one, two)]


def test_a_closing_commit_replaces_its_parent() -> None:
    m = Maker()
    parent = m.commit(m.root(), A)
    empty = m.commit(parent)
    assert [h.id for h in m.graph.heads(everything)] == [empty]


def test_a_merge_is_the_same_whichever_way_it_is_named() -> None:
    m = Maker()
    root = m.root()
    a, b = m.commit(root, A), m.commit(root, B)
    assert merge_of(JOB, a, b) == merge_of(JOB, b, a)
    merged = m.graph.points[m.merge(b, a)]
    assert merged.counted == m.graph.points[a].counted.union(m.graph.points[b].counted)
    assert [h.id for h in m.graph.heads(everything)] == [merged.id]


def test_weights_are_capped_at_the_lower_median() -> None:
    """A node that ran ahead alone (1000 examples) against two that did 10 each: cap 10, weight 1/3."""
    m = Maker()
    root = m.root()
    alone = m.commit(root, A, examples=1000)
    two = m.commit(root, B, C, examples=10)
    assert m.graph.share(alone, two) == 1 / 3
    assert m.graph.share(two, alone) == 2 / 3
    assert m.graph.only(alone, two) == {A: 1000}


def test_rounds_apart_are_those_of_the_side_that_did_fewer() -> None:
    m = Maker()
    fork = m.commit(m.root(), A, B, C)
    a, b = m.commit(m.commit(m.commit(fork, A), A), A), m.commit(m.commit(fork, B), B)
    merge = m.graph.points[m.merge(a, b)]
    assert m.graph.rounds_apart(merge) == 2
    third = m.commit(fork, C)
    assert m.graph.rounds_apart(m.graph.points[m.merge(merge.id, third)]) == 1


def test_the_round_of_a_merge_is_the_mean_of_its_parents_by_their_shares() -> None:
    m = Maker()
    root = m.root()
    alone = root
    for _ in range(10):
        alone = m.commit(alone, A, examples=10)
    two = m.commit(root, B, C, examples=100)
    merged = m.graph.points[m.merge(alone, two)]
    assert m.graph.share(two, alone) == 2 / 3
    assert merged.round == 4  # 10 / 3 + 1 * 2 / 3: it has not ended a job of 10 rounds for everybody


@given(st.integers(0, 10_000))
def test_a_merges_round_lies_between_its_parents(seed: int) -> None:
    graph = some_history(seed).graph
    for point in graph.points.values():
        if point.is_merge:
            rounds = [graph.points[p].round for p in point.parents]
            assert min(rounds) <= point.round <= max(rounds)


def test_spent_is_merged_by_maximum_and_the_lower_parents_roster_goes_first() -> None:
    m = Maker()
    fork = m.commit(m.root(), A)
    a, b = m.commit(fork, A, B), m.commit(fork, A, C)
    merged = m.graph.points[m.merge(a, b)]
    steps = {s.node: s.steps for s in merged.spent}
    assert steps == {A: 10, B: 5, C: 5}
    first, second = sorted((a, b))
    assert merged.roster[: len(m.graph.points[first].roster)] == m.graph.points[first].roster
    assert set(merged.roster) == set(m.graph.points[first].roster) | set(m.graph.points[second].roster)


def some_history(seed: int) -> Maker:
    rng = random.Random(seed)
    m = Maker()
    tips = [m.root()]
    for _ in range(rng.randint(3, 14)):
        if len(tips) > 1 and rng.random() < 0.3:
            a, b = rng.sample(tips, 2)
            tips = [t for t in tips if t not in (a, b)] + [m.merge(a, b)]
        else:
            nodes = rng.sample([A, B, C], rng.randint(1, 3))
            parent = rng.choice([*tips, *m.graph.points])
            tips = [t for t in tips if t != parent] + [m.commit(parent, *nodes, examples=rng.randint(1, 50))]
    return m


@given(st.integers(0, 10_000), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_same_graph(seed: int, rng: random.Random) -> None:
    m = some_history(seed)
    mixed = rng.sample(m.made, len(m.made))
    graph = Graph()
    complete = [point.id for commit, author, record in mixed for point in graph.add(commit, author, record)]
    assert sorted(complete) == sorted(c for c, _, _ in m.made)
    assert graph.points == m.graph.points
    assert graph.missing() == []
    assert [h.id for h in graph.heads(everything)] == [h.id for h in m.graph.heads(everything)]


@given(st.integers(0, 10_000))
def test_no_head_counts_what_another_one_counts(seed: int) -> None:
    heads = some_history(seed).graph.heads(everything)
    assert heads
    for p, q in permutations(heads, 2):
        assert not p.counted >= q.counted
    assert [h.id for h in heads] == sorted(h.id for h in heads)


@given(st.integers(0, 10_000))
def test_merging_two_at_a_time_ends_with_everything_counted(seed: int) -> None:
    """Lowest ids first, as a coordinator does: it ends, and what all heads counted is counted."""
    m = some_history(seed)
    heads = m.graph.heads(everything)
    every = Counted()
    for head in heads:
        every = every.union(head.counted)
    merges = 0
    while len(heads) > 1:
        m.merge(heads[0].id, heads[1].id)
        heads = m.graph.heads(everything)
        merges += 1
        assert merges < 20
    assert heads[0].counted == every


@given(st.integers(0, 10_000))
def test_a_branch_and_its_complement_weigh_one(seed: int) -> None:
    m = some_history(seed)
    heads = m.graph.heads(everything)
    for p, q in permutations(heads, 2):
        assert abs(m.graph.share(p.id, q.id) + m.graph.share(q.id, p.id) - 1.0) < 1e-12


@given(st.integers(0, 10_000))
def test_what_a_commit_lacks_is_lacking_from_what_comes_from_it(seed: int) -> None:
    """Along a line in full, in a merge by the parents' shares, elsewhere not at all."""
    m = some_history(seed)
    graph = m.graph
    for old in graph.points:
        for point in graph.points.values():
            part = graph.influence(old, point.id)
            if point.id == old:
                assert part == 1.0
            elif old not in {p.id for p in graph.ancestors(point.id)}:
                assert part == 0.0
            elif not point.is_merge:
                assert part == graph.influence(old, point.parents[0])
            else:
                a, b = point.parents
                share = graph.share(a, b)
                want = share * graph.influence(old, a) + (1.0 - share) * graph.influence(old, b)
                assert abs(part - want) < 1e-12
