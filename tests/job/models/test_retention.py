from __future__ import annotations

from histories import FIRST, ID, JOB, ROOT, A, B, commit, entry, folded, update

from muster.history.counted import Key
from muster.history.graph import merge_of
from muster.job.models.retention import collectable, pinned, spent_payloads
from muster.job.view import JobView
from muster.protocol.ids import NOBODY


def test_payloads_go_when_a_held_head_counts_them() -> None:
    view = JobView(ID, JOB, A)
    for e in (ROOT, FIRST, update(A, ROOT, 1, b"1" * 32), update(A, FIRST, 2, b"2" * 32)):
        view.absorb(e)
    done: set[Key] = set()
    assert spent_payloads(view, [view.graph.points[ROOT.id]], done) == []
    assert spent_payloads(view, [view.graph.points[FIRST.id]], done) == [b"1" * 32]
    assert spent_payloads(view, [view.graph.points[FIRST.id]], done) == []


def test_what_a_head_needs_is_kept() -> None:
    view = JobView(ID, JOB, A)
    last = ROOT
    view.absorb(ROOT)
    line = [ROOT]
    for number in range(1, 15):
        last = commit(last, folded(A, number), params=bytes([number]) * 32)
        view.absorb(last)
        line.append(last)
    graph = view.graph
    keep = pinned(graph, [graph.points[last.id]], [line[2].id])
    gone = collectable(graph, keep, lambda c: graph.points[c].record.params)  # type: ignore[union-attr]
    assert gone[0] == ROOT.record.params  # type: ignore[union-attr]
    assert last.id in keep
    assert line[2].id in keep
    assert not {graph.points[c].record.params for c in keep} & set(gone)  # type: ignore[union-attr]
    assert NOBODY not in gone


def test_where_merges_are_many_a_head_keeps_sixteen_and_what_it_is_made_from() -> None:
    """Seeds 597 to 725: eight commits of each branch of a mule's history were up to forty models."""
    view = JobView(ID, JOB, A)
    view.absorb(ROOT)
    home, sides = ROOT, [ROOT] * 6
    for turn in range(1, 40):
        side = turn % 6
        sides[side] = commit(sides[side], folded(B, turn), params=bytes([turn]) * 32)
        merged = entry(NOBODY, merge_of(ID, home.id, sides[side].id)[1])
        view.absorb(sides[side])
        view.absorb(merged)
        home = merged
        if turn % 3 == 0:
            on = view.graph.points[merged.id]
            home = commit(merged, folded(A, turn), params=bytes([100 + turn]) * 32, on=on)
            view.absorb(home)
        head = view.graph.points[home.id]
        keep = pinned(view.graph, [head], [])
        assert {head.id, *head.parents} <= keep
        assert len(keep) <= 16 + 2
        if head.is_merge:  # can be computed from commits that are kept
            grand = [p for parent in head.parents for p in view.graph.points[parent].parents]
            assert all(view.graph.points[p].is_merge is False for p in head.parents) or set(grand) & keep


def test_commits_with_the_same_parameters_keep_them_for_each_other() -> None:
    view = JobView(ID, JOB, A)
    view.absorb(ROOT)
    last = ROOT
    for number in range(1, 12):
        last = commit(last, folded(A, number), params=b"same" * 8)
        view.absorb(last)
    graph = view.graph
    keep = pinned(graph, [graph.points[last.id]], [])
    gone = collectable(graph, keep, lambda c: graph.points[c].record.params)  # type: ignore[union-attr]
    assert gone == [ROOT.record.params]  # type: ignore[union-attr]
