"""What a commit has in common with its parent."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from muster.history.graph import Graph, merge_of
from muster.history.succession import Before, succession_fault
from muster.protocol.envelope import id_of
from muster.protocol.parts import Discarded, Folded, Spent, StandIn
from muster.protocol.records import Commit
from muster.protocol.validation.limits import DIGEST_ROUNDS

A, B, JOB = b"a" * 32, b"b" * 32, b"j" * 32
C = b"c" * 32
ROOT = Commit(JOB, (), 0, (), (A,), (), 0.0, bytes(32), 100)
ROOT_ID = id_of(A, ROOT)


def child(parent: Commit, parent_id: bytes, node: bytes, sequence: int) -> Commit:
    folded = (Folded(node, 1, sequence, 4, 4, 0, 0.5),)
    joined = (node,) if node == B and sequence == 1 else ()
    return Commit(JOB, (parent_id,), parent.round + 1, folded, joined, (), parent.age_s + 1.0, bytes(32), 100)


FIRST = child(ROOT, ROOT_ID, A, 1)
FIRST_ID = id_of(A, FIRST)
SECOND = child(FIRST, FIRST_ID, B, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"round": 1}, {"round": 3}, {"folded": FIRST.folded}, {"discarded": (Discarded(A, 1, 1, "again"),)},
        {"joined": (B, A)}, {"joined": ()}, {"spent": (Spent(C, 0, 0, 9),)}, {"age_s": 0.5},
        {"params_bytes": 101}, {"missed": (2,)}, {"stand_ins": (StandIn(0, (2,)),)},
    ],
)  # fmt: skip
def test_what_does_not_follow(changes: dict[str, Any]) -> None:
    graph = Graph()
    for commit_id, record in (
        (ROOT_ID, ROOT), (FIRST_ID, FIRST), (b"g" * 32, SECOND), (b"w" * 32, replace(SECOND, **changes))
    ):  # fmt: skip
        graph.add(commit_id, A, record)
    assert b"g" * 32 in graph.points
    assert b"w" * 32 in graph.refused


def test_a_first_commit_has_a_roster_and_counts_nothing_of_others() -> None:
    graph = Graph()
    graph.add(b"1" * 32, A, replace(ROOT, joined=()))
    graph.add(b"2" * 32, A, replace(ROOT, spent=(Spent(B, 0, 0, 9),)))
    assert set(graph.refused) == {b"1" * 32, b"2" * 32}


def test_a_round_that_only_discards_or_closes_may_stay() -> None:
    closing = replace(FIRST, parents=(FIRST_ID,), folded=())
    assert succession_fault(closing, Before.of(FIRST)) is None
    assert succession_fault(replace(closing, round=2), Before.of(FIRST)) is None


@pytest.mark.parametrize("late", [False, True])
def test_a_commit_that_does_not_follow_is_no_point_whichever_comes_first(late: bool) -> None:
    wrong = replace(SECOND, round=7)
    wrong_id = id_of(A, wrong)
    after = replace(SECOND, parents=(wrong_id,), round=8)
    graph = Graph()
    graph.add(ROOT_ID, A, ROOT)
    records = [(FIRST_ID, FIRST), (wrong_id, wrong), (b"x" * 32, after)]
    for commit_id, record in records[::-1] if late else records:
        graph.add(commit_id, A, record)
    assert set(graph.points) == {ROOT_ID, FIRST_ID}
    assert "round 7" in graph.refused[wrong_id]


def test_a_commit_of_another_job_is_no_point() -> None:
    graph = Graph()
    graph.add(ROOT_ID, A, ROOT)
    graph.add(FIRST_ID, A, replace(FIRST, job=b"o" * 32))
    assert set(graph.points) == {ROOT_ID}


def test_a_commit_on_a_merge_follows_both_sides() -> None:
    graph = Graph()
    other = child(ROOT, ROOT_ID, B, 1)
    other_id = id_of(B, other)
    merge_id, merge = merge_of(JOB, FIRST_ID, other_id)
    for commit_id, record in ((ROOT_ID, ROOT), (FIRST_ID, FIRST), (other_id, other), (merge_id, merge)):
        graph.add(commit_id, A, record)
    good = replace(child(SECOND, merge_id, A, 2), round=graph.points[merge_id].round + 1)
    again = replace(good, folded=other.folded)
    graph.add(b"o" * 32, A, again)
    graph.add(b"g" * 32, A, good)
    assert graph.points[b"g" * 32].roster == (A, B)
    assert "twice" in graph.refused[b"o" * 32]


@pytest.mark.parametrize("wrong", [None, bytes(32)])
def test_every_sixteenth_round_says_what_all_before_it_amount_to(wrong: bytes | None) -> None:
    graph, before, before_id = Graph(), ROOT, ROOT_ID
    graph.add(ROOT_ID, A, ROOT)
    for number in range(1, DIGEST_ROUNDS + 1):
        before = graph.completed(child(before, before_id, A, number), A)
        assert bool(before.digest) == (number == DIGEST_ROUNDS)
        before = replace(before, digest=wrong) if wrong and before.digest else before
        before_id = id_of(A, before)
        graph.add(before_id, A, before)
    assert (before_id in graph.points) is (wrong is None)
    assert ("digest" in graph.refused.get(before_id, "")) is (wrong is not None)


def test_thousands_that_wait_for_one_parent_are_taken_in_order() -> None:
    """One early commit that is missing, and a day's later ones: that was a RecursionError at 995."""
    line, before, before_id = [], ROOT, ROOT_ID
    for number in range(1, 3001):
        before = child(before, before_id, A, number)
        before_id = id_of(A, before)
        line.append((before_id, before))
    graph = Graph()
    for commit_id, record in line:
        assert graph.add(commit_id, A, record) == []
    complete = graph.add(ROOT_ID, A, ROOT)
    assert [point.id for point in complete] == [ROOT_ID, *(commit_id for commit_id, _ in line)]
