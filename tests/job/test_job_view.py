from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from muster.history.counted import Counted, Key
from muster.history.graph import merge_of
from muster.job import roles
from muster.job.models.retention import collectable, pinned, spent_payloads
from muster.job.view import JobView, finished_by
from muster.network.sync.ledger import Entry
from muster.protocol.envelope import encode, record_id
from muster.protocol.records import (
    NOBODY,
    Assignment,
    Commit,
    Folded,
    Job,
    Measurement,
    NodeId,
    Offer,
    Payload,
    Plan,
    Recipe,
    Record,
    Refusal,
    Spent,
    Stop,
    StopRule,
    Update,
)

A, B, C, D = b"A" * 32, b"B" * 32, b"C" * 32, b"D" * 32
JOB = Job("t", b"f", Recipe(0.1, 1, 4, 0), StopRule(rounds=3), 1, 10.0, b"n")
ID = b"j" * 32


def entry(author: NodeId, record: Record) -> Entry:
    return Entry(record_id(author, encode(record)), author, record, b"", 1, 100)


def commit(parent: Entry | None, *folded: Folded, params: bytes = b"p" * 32, author: NodeId = A) -> Entry:
    before = parent.record if parent else None
    counted = Counted.from_ranges(before.counted) if isinstance(before, Commit) else Counted()
    counted = counted.plus(Key(f.node, f.incarnation, f.sequence) for f in folded)
    round_ = before.round + 1 if isinstance(before, Commit) else 0
    spent = tuple(Spent(f.node, f.steps, f.examples, 10) for f in folded)
    record = Commit(
        ID, (parent.id,) if parent else (), round_, counted.ranges(), folded, (A, B), spent, 1.0, params, 100
    )
    return entry(author, record)


def update(node: NodeId, base: Entry, sequence: int, blob: bytes | None = None) -> Entry:
    payload = Payload("dense32", 4, inline=None if blob else b"abcd", blob=blob)
    return entry(node, Update(ID, base.id, 0, 1, sequence, 4, 4, 0.5, payload))


def folded(node: NodeId, sequence: int) -> Folded:
    return Folded(node, 1, sequence, 4, 4, 0, 0.5)


ROOT = commit(None)
FIRST = commit(ROOT, folded(A, 1), folded(B, 1), params=b"q" * 32)
BRANCH = commit(ROOT, folded(C, 1), params=b"s" * 32, author=C)
ENTRIES = [
    ROOT,
    FIRST,
    commit(FIRST, folded(A, 2), params=b"r" * 32),
    BRANCH,
    entry(NOBODY, merge_of(ID, FIRST.id, BRANCH.id)[1]),
    *[entry(n, Offer(ID, 5, number, 10, 0.1 * number)) for n in (A, B) for number in (1, 2, 3)],
    entry(A, Refusal(ID, 5, 2, "not now")),
    entry(D, Offer(ID, 5, 3, 10, 0.1)),
    entry(D, Refusal(ID, 5, 4, "no room")),
    entry(C, Refusal(ID, 5, 1, "before its disk was lost")),
    entry(C, Refusal(ID, 4, 1, "after that, before it heard of its former life")),
    entry(C, Offer(ID, 4, 2, 10, 0.1)),
    entry(A, Plan(ID, ROOT.id, 1, (Assignment(A, 4, "dense32"),), 1, 10.0, "one")),
    entry(A, Plan(ID, ROOT.id, 1, (Assignment(A, 4, "dense32"),), 1, 10.0, "two")),
    entry(B, Plan(ID, ROOT.id, 1, (Assignment(A, 4, "dense32"),), 1, 10.0, "one")),
    entry(B, Plan(ID, ROOT.id, 1, (Assignment(C, 4, "dense32"),), 1, 10.0, "instead", 1)),
    update(A, ROOT, 1),
    update(B, ROOT, 1),
    update(A, FIRST, 2),
    entry(A, Measurement(ID, FIRST.id, 10, 5, 1.0, True)),
    entry(A, Measurement(ID, FIRST.id, 100, 60, 9.0, True)),
    entry(B, Measurement(ID, FIRST.id, 100, 61, 9.0, True)),
    entry(A, Stop(ID, "enough")),
    entry(B, Stop(ID, "no more")),
]


def view_of(entries: list[Entry]) -> JobView:
    view = JobView(ID, JOB, A)
    for e in entries:
        view.absorb(e)
    return view


def facts(view: JobView) -> object:
    return (
        view.graph.points, view.offers, view.plans, view.updates, view.measurements, view.stopped,
        view.refusals,
    )  # fmt: skip


@given(st.randoms(use_true_random=False))
def test_absorbing_in_any_order_and_twice_gives_the_same_view(rng: random.Random) -> None:
    mixed = rng.sample(ENTRIES, len(ENTRIES)) + rng.choices(ENTRIES, k=5)
    assert facts(view_of(mixed)) == facts(view_of(ENTRIES))


def test_of_offers_and_refusals_of_a_node_the_newest_counts() -> None:
    view = view_of(ENTRIES)
    assert view.refusals == {D: "no room"}
    assert view.offers.keys() == {A, B, C, D}
    assert view.next_number(D) == 5
    view.absorb(entry(D, Offer(ID, 9, 5, 10, 0.1)))
    assert view.refusals == {}


def test_a_head_ends_the_job_by_its_stop_rule() -> None:
    point = view_of(ENTRIES).graph.points[FIRST.id]
    assert finished_by(StopRule(rounds=2), point, None) is None
    assert finished_by(StopRule(rounds=1), point, None) == "1 rounds done"
    assert finished_by(StopRule(seconds=1.0), point, None) is not None
    assert finished_by(StopRule(bytes=21), point, None) is None
    assert finished_by(StopRule(bytes=20), point, None) is not None


def test_a_closing_commit_has_its_parents_figures() -> None:
    view = view_of(ENTRIES)
    closing = commit(FIRST, params=b"q" * 32)
    other = commit(FIRST, params=b"z" * 32)
    view.absorb(closing)
    view.absorb(other)
    assert view.figures(closing.id) == view.figures(FIRST.id)
    assert view.figures(FIRST.id) is not None
    assert view.figures(other.id) is None


def test_waiting_is_what_a_history_does_not_count() -> None:
    view = view_of(ENTRIES)
    point = view.graph.points[FIRST.id]
    assert [u.key for u in view.uncounted(point.counted)] == [Key(A, 1, 2)]
    view.absorb(update(C, FIRST, 1))
    assert [u.key for u in view.uncounted(point.counted)] == [Key(A, 1, 2), Key(C, 1, 1)]


def test_the_best_ranked_in_reach_coordinates() -> None:
    view = view_of(ENTRIES)
    head = view.graph.points[FIRST.id]
    assert roles.coordinator(view, head, lambda _: True) == A
    assert roles.coordinator(view, head, lambda n: n != A) == B
    assert roles.coordinator(view, head, lambda n: False) is None
    view.refusals[A] = "no"
    assert roles.coordinator(view, head, lambda _: True) == B


def test_one_alone_is_not_enough_once_two_take_part() -> None:
    view = JobView(ID, JOB, A)
    for e in (ROOT, FIRST):
        view.absorb(e)
    assert roles.min_nodes(view, view.graph.points[ROOT.id]) == 1
    assert roles.min_nodes(view, view.graph.points[FIRST.id]) == 2


def test_a_plan_is_open_until_its_author_closes_the_round() -> None:
    view = JobView(ID, JOB, A)
    for e in (ROOT, entry(A, Plan(ID, ROOT.id, 1, (Assignment(B, 4, "dense32"),), 1, 10.0))):
        view.absorb(e)
    root = [view.graph.points[ROOT.id]]
    assert len(roles.open_plans(view, B, lambda base: False, root)) == 1
    assert roles.open_plans(view, C, lambda base: False, root) == []
    assert roles.open_plans(view, B, lambda base: True, root) == []
    view.absorb(commit(ROOT, folded(C, 9), author=C))
    assert len(roles.open_plans(view, B, lambda base: False, root)) == 1
    view.absorb(FIRST)
    assert roles.open_plans(view, B, lambda base: False, root) == []


def test_a_later_plan_of_the_same_author_takes_the_place_of_an_earlier_one() -> None:
    view = view_of(ENTRIES)
    assert view.plans[ROOT.id][B].record.why == "instead"
    given = [p.author for p in roles.open_plans(view, C, lambda base: False, [view.graph.points[ROOT.id]])]
    assert given == [B]


def test_payloads_go_when_a_held_head_counts_them() -> None:
    view = JobView(ID, JOB, A)
    for e in (ROOT, FIRST, update(A, ROOT, 1, b"1" * 32), update(A, FIRST, 2, b"2" * 32)):
        view.absorb(e)
    done: set[Key] = set()
    assert spent_payloads(view, [view.graph.points[ROOT.id]], done) == []
    assert spent_payloads(view, [view.graph.points[FIRST.id]], done) == [b"1" * 32]
    assert spent_payloads(view, [view.graph.points[FIRST.id]], done) == []


def test_what_the_way_to_a_head_needs_is_kept() -> None:
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
        home = commit(merged, folded(A, turn), params=bytes([100 + turn]) * 32) if turn % 3 == 0 else merged
        for each in (sides[side], merged, home):
            view.absorb(each)
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
