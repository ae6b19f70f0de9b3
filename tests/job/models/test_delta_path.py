from __future__ import annotations

import itertools
from collections.abc import Iterable

from histories import B
from lineage import Lineage

from muster.job.models.delta_path import (
    CHAIN_MAX,
    MERGES_MAX,
    Segment,
    delta_path,
    merge_inputs,
    missing_ancestors,
)
from muster.protocol.ids import CommitId


def find(
    made: Lineage, target: CommitId, held: Iterable[CommitId], limit_bytes: int = 10**6
) -> list[Segment] | None:
    """Where every delta has ten bytes."""
    return delta_path(made.view.graph, made.point(target), set(held).__contains__, lambda _: 10, limit_bytes)


def ids(segments: list[Segment] | None) -> list[list[CommitId]] | None:
    return segments and [[p.id for p in s] for s in segments]


def test_a_line_is_a_path_while_its_deltas_are_less_than_the_limit() -> None:
    made = Lineage()
    line = made.line(made.root, 5)
    assert ids(find(made, line[-1], [line[1]], 31)) == [line[2:]]
    assert find(made, line[-1], [line[1]], 30) is None
    assert find(made, line[-1], []) is None  # the root has no delta


def test_both_sides_of_a_merge_are_paid_for_and_what_they_have_in_common_once() -> None:
    made = Lineage()
    trunk = made.line(made.root, 3)
    left, right = made.line(trunk[-1], 2), made.line(trunk[-1], 4, B)
    merged = made.merge(left[-1], right[-1])
    after = made.line(merged, 2)
    assert find(made, after[-1], [made.root], 110) is None  # 3 + 2 + 4 + 2 deltas
    found = ids(find(made, after[-1], [made.root], 111))
    assert found is not None
    assert sorted(found) == sorted([trunk, left, right, [merged], after])
    assert found[0] == trunk
    assert found[-2:] == [[merged], after]
    assert ids(find(made, after[-1], [left[-1], right[-1]], 21)) == [[merged], after]


def test_each_segment_begins_after_what_is_held_or_the_last_of_an_earlier_one() -> None:
    """A mule goes to and fro: its home is merged again and again with what grew beside it."""
    made = Lineage()
    home, side = made.root, made.root
    for turn in range(12):
        side = made.commit(side, author=B)
        home = made.merge(home, side) if turn % 2 else made.commit(home)
    home = made.commit(home)
    segments = find(made, home, [made.root])
    assert segments is not None
    known = {made.root}
    for segment in segments:
        assert known.issuperset(segment[0].parents)
        for before, point in itertools.pairwise(segment):
            assert point.parents == (before.id,)
        known.add(segment[-1].id)
    assert segments[-1][-1].id == home
    made_once = [p.id for s in segments for p in s]
    assert len(made_once) == len(set(made_once))


def test_a_path_has_a_limited_length_and_a_commit_without_a_delta_ends_it() -> None:
    made = Lineage()
    line = made.line(made.root, CHAIN_MAX + 1)
    assert ids(find(made, line[-1], [line[0]])) == [line[1:]]
    assert find(made, line[-1], [made.root]) is None
    whole = made.commit(line[0], codec=None)
    assert find(made, made.commit(whole), [line[0]]) is None
    assert find(made, made.commit(whole), [whole]) is not None


def test_merges_of_merges_are_looked_at_once_each() -> None:
    """Two merges on every level, each of both below: 2^200 paths lead down."""
    made = Lineage()
    low, high = made.commit(made.root), made.commit(made.root, author=B)
    levels = [(low, high)]
    for _ in range(200):
        a, b = levels[-1]
        first = made.merge(a, b)
        levels.append((first, made.merge(first, b)))
    top = levels[-1][1]
    held = {low, high}.__contains__
    missing = merge_inputs(made.view.graph, made.point(top), held)
    assert len(missing) == 400
    assert missing[-1].id == top
    assert missing_ancestors(made.view.graph, [top], held) == {p.id for p in missing}
    assert find(made, levels[MERGES_MAX // 2][1], [low, high]) is not None
    assert find(made, levels[MERGES_MAX // 2 + 1][1], [low, high]) is None
