from __future__ import annotations

import random

from histories import ENTRIES, FIRST, ID, JOB, ROOT, A, B, C, D, commit, entry, folded, update, view_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from muster.history.counted import Key
from muster.job import roles
from muster.job.stop_rule import finished_by
from muster.job.view import JobView
from muster.protocol.parts import Assignment, StopRule
from muster.protocol.records import Offer, Plan


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

    def ends(rule: StopRule) -> str | None:
        return finished_by(replace(JOB, stop=rule), point, None)

    assert ends(StopRule(rounds=2)) is None
    assert ends(StopRule(rounds=1)) == "1 rounds done"
    assert ends(StopRule(seconds=1.0)) is not None
    assert ends(StopRule(bytes=21)) is None
    assert ends(StopRule(bytes=20)) == "20 B of 20 B spent"


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
    assert len(roles.open_plans(view, B, lambda plan, piece: False, root)) == 1
    assert roles.open_plans(view, C, lambda plan, piece: False, root) == []
    assert roles.open_plans(view, B, lambda plan, piece: True, root) == []
    view.absorb(commit(ROOT, folded(C, 9), author=C))
    assert len(roles.open_plans(view, B, lambda plan, piece: False, root)) == 1
    view.absorb(FIRST)
    assert roles.open_plans(view, B, lambda plan, piece: False, root) == []


def test_a_later_plan_of_the_same_author_takes_the_place_of_an_earlier_one() -> None:
    view = view_of(ENTRIES)
    assert view.plans[ROOT.id][B].record.why == "instead"
    given = [
        p.author for p in roles.open_plans(view, C, lambda plan, piece: False, [view.graph.points[ROOT.id]])
    ]
    assert given == [B]
