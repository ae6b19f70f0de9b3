"""Which channels the model of a point keeps, as far as the history says it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from muster.history.counted import Key
from muster.history.graph import Graph, merge_of
from muster.history.point import Point
from muster.protocol.envelope import id_of
from muster.protocol.ids import NOBODY, CommitId
from muster.protocol.parts import Discarded, Folded, Payload
from muster.protocol.records import Commit

A, B, JOB = b"a" * 32, b"b" * 32, b"j" * 32
ROOT = Commit(JOB, (), 0, (), (A, B), (), 0.0, bytes(32), 100)


def shape(bits: int, structure: bytes = b"structur") -> bytes:
    return structure + bytes([bits])


HALF, QUARTER, OTHER = shape(0b11110000), shape(0b11000000), shape(0b00111100)


class History:
    def __init__(self, root: Commit = ROOT) -> None:
        self.graph = Graph()
        self.root = self._add(root)

    def pruned(self, parent: CommitId, kept: bytes, **changes: Any) -> CommitId:
        before = self.graph.points[parent]
        size = getattr(before.record, "params_bytes", 100)
        record = Commit(
            JOB, (parent,), before.round, (), (), (), before.age_s, bytes(32), size - 1, shape=kept,
        )  # fmt: skip
        return self._add(replace(record, **changes))

    def round(self, parent: CommitId, node: bytes = A, **changes: Any) -> CommitId:
        before = self.graph.points[parent]
        key = Key(node, 1, 1 + sum(r.last for r in before.counted.ranges() if r.node == node))
        record = Commit(
            JOB, (parent,), before.round + 1, (Folded(*key, 4, 4, 0, 0.5),), (), (), before.age_s, bytes(32),
            getattr(before.record, "params_bytes", 98),
        )  # fmt: skip
        return self._add(replace(record, **changes))

    def merge(self, a: CommitId, b: CommitId) -> Point:
        commit_id, record = merge_of(JOB, a, b)
        self.graph.add(commit_id, NOBODY, record)
        return self.graph.points[commit_id]

    def _add(self, record: Commit) -> CommitId:
        commit_id = id_of(A, record)
        self.graph.add(commit_id, A, record)
        return commit_id


def test_a_pruned_model_stays_so_and_only_the_commit_that_prunes_says_it() -> None:
    history = History()
    graph, half = history.graph, history.pruned(history.root, HALF)
    after = history.round(half)
    assert [graph.points[c].shape for c in (history.root, half, after)] == [b"", HALF, HALF]
    assert [graph.prunes(graph.points[c]) for c in (history.root, half, after)] == [False, True, False]
    quarter = history.pruned(after, QUARTER)
    assert graph.points[quarter].shape == QUARTER
    assert not graph.refused


def test_a_job_may_begin_with_a_pruned_model() -> None:
    history = History(replace(ROOT, shape=HALF))
    assert history.graph.points[history.round(history.root)].shape == HALF
    assert not history.graph.prunes(history.graph.points[history.root])


def test_a_head_that_is_only_pruned_replaces_its_parent_and_one_that_counts_more_replaces_both() -> None:
    history = History()
    first = history.round(history.root)
    half = history.pruned(first, HALF)
    assert [h.id for h in history.graph.heads(lambda _: True)] == [half]
    wide = history.round(first, B)
    assert [h.id for h in history.graph.heads(lambda _: True)] == [wide]
    small = history.round(half, A)
    assert {h.id for h in history.graph.heads(lambda _: True)} == {wide, small}


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [(b"", b"", b""), (HALF, b"", HALF), (HALF, HALF, HALF), (HALF, QUARTER, QUARTER), (HALF, OTHER, None)],
)
def test_a_merge_has_the_shape_that_lies_within_the_other(a: bytes, b: bytes, expected: bytes | None) -> None:
    history = History()
    first = history.round(history.root)
    ends = []
    for node, kept in ((A, a), (B, b)):
        end = history.round(first, node)
        ends.append(history.pruned(end, kept) if kept else end)
    assert history.merge(*ends).shape == expected
    assert history.merge(*reversed(ends)).shape == expected


def test_behind_branches_that_were_pruned_apart_the_next_commit_says_the_shape() -> None:
    history = History()
    first = history.round(history.root)
    one = history.pruned(history.round(first, A), HALF)
    other = history.pruned(history.round(first, B), OTHER)
    merge = history.merge(one, other)
    refused = history.round(merge.id)
    assert "pruned apart" in history.graph.refused[refused]
    said = history.round(merge.id, shape=HALF)
    assert history.graph.points[said].shape == HALF
    assert not history.graph.prunes(history.graph.points[said])
    assert history.merge(history.round(merge.id, B, shape=HALF), said).shape == HALF


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"round": 2}, "something else"),
        ({"delta": Payload("dense32", 1, b"x")}, "something else"),
        (
            {
                "discarded": (Discarded(B, 1, 1, "why"),),
            },
            "something else",
        ),
        ({"params_bytes": 101}, "101 bytes"),
    ],
)
def test_a_commit_that_prunes_does_nothing_else(changes: dict[str, Any], reason: str) -> None:
    history = History()
    pruned = history.pruned(history.round(history.root), HALF, **changes)
    assert reason in history.graph.refused[pruned]


@pytest.mark.parametrize("kept", [OTHER, shape(0b11000000, b"another "), QUARTER + b"\0"])
def test_a_channel_that_went_does_not_come_back(kept: bytes) -> None:
    history = History()
    quarter = history.pruned(history.round(history.root), QUARTER)
    pruned = history.pruned(quarter, kept)
    assert "a channel that its parent has not" in history.graph.refused[pruned]


def test_without_pruning_a_model_keeps_its_size() -> None:
    history = History()
    first = history.round(history.root, params_bytes=99)
    assert "99 bytes" in history.graph.refused[first]
