"""Rounds of nodes that may spend only so much each, and what a round takes them in energy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_policy import A, B, C, known, planned, steps_of, work

from muster.planning import policy, state
from muster.planning.costs import Left, joules
from muster.planning.policy import Candidate
from muster.planning.round_plan import NothingFits
from muster.planning.state import PlannerState, Shown, ShownUpdate
from muster.protocol.parts import Cost, Power, Steering, StopRule

POWER = Power(1.0, 5.0)


def spent(round_: int, millijoules: int, *nodes: bytes, turnaround_ms: int = 3000) -> Shown:
    cost = Cost(turnaround_ms, 1000, 300, "stc:0.02", 90, millijoules)
    updates = tuple(ShownUpdate(n, 10, 0, cost) for n in nodes)
    return Shown(round_, updates, (), Steering(steps=10), "stc:0.05", 700)


def after(*rounds: Shown) -> PlannerState:
    seen = state.init()
    for one in rounds:
        seen = state.observe(seen, one)
    return seen


def joules_of(seen: PlannerState, *nodes: bytes, power: Power | None = POWER) -> dict[bytes, float]:
    found = planned(policy.plan(work(), seen, [Candidate(n, 0.1, power=power) for n in nodes], Left(), 1))
    return dict(found.joules)


def test_energy_is_expected_by_how_far_the_power_was_off() -> None:
    expected_j = joules(POWER, 3.0, 1.0, 300, 700)
    seen = after(*(spent(i, round(2000 * expected_j), A, B) for i in range(1, 5)))
    as_said = after(*(spent(i, round(1000 * expected_j), A, B) for i in range(1, 5)))
    assert joules_of(seen, A, B)[A] == pytest.approx(2 * joules_of(as_said, A, B)[A], rel=1e-3)


def test_the_first_update_has_the_test_of_its_speed_in_it() -> None:
    assert joules_of(after(spent(1, 900_000, A)), A) == joules_of(after(spent(1, 1, A)), A)


def test_without_a_power_model_the_watts_of_the_last_rounds_count() -> None:
    seen = after(*(spent(i, 6000, A, B) for i in range(1, 5)))
    found = planned(policy.plan(work(), seen, [Candidate(A, 0.1), Candidate(B, 0.1)], Left(), 1))
    assert found.joules[A] == pytest.approx(2.0 * found.usage.seconds)


def test_who_sat_out_is_charged_with_what_it_used_meanwhile() -> None:
    rounds = [spent(i, 7000, A, B, C) for i in range(1, 4)]
    alone = [spent(i, 7000, A, B) for i in range(4, 10)]
    found = joules_of(after(*rounds, *alone), A, B, C)
    assert found[C] >= found[A] + 6 * 3.0 * POWER.idle_w


def test_a_budget_of_each_node_decides_the_steps_as_one_of_all_does() -> None:
    seen = PlannerState({A: known(1.0, 0.1), B: known(1.0, 0.1)}, ratios=(10.0,))

    def tau(left: Left) -> int:
        return planned(
            policy.plan(work(), seen, [Candidate(n, 1.0, left=left) for n in (A, B)], Left(), 1)
        ).tau

    assert tau(Left(bytes=10**6)) == 100
    assert tau(Left()) == 7


def test_all_who_may_spend_no_more_are_named_whatever_they_were_short_of() -> None:
    candidates = [
        Candidate(A, 1.0, left=Left(bytes=10)),
        Candidate(B, 1.0, power=POWER, left=Left(joules=0.5)),
    ]
    nothing = policy.plan(
        work(), PlannerState({A: known(1.0, 0.1), B: known(1.0, 0.1)}), candidates, Left(), 2
    )
    assert isinstance(nothing, NothingFits)
    assert set(nothing.poor) == {A, B}


def test_one_node_goes_on_when_the_others_have_spent_their_part() -> None:
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1)}
    candidates = [Candidate(A, 1.0, left=Left(bytes=10)), Candidate(B, 1.0)]
    assert steps_of(policy.plan(work(), PlannerState(nodes), candidates, Left(), 2)).keys() == {B}
    assert isinstance(policy.plan(work(), PlannerState(nodes), candidates[:1], Left(), 2), NothingFits)


@pytest.mark.parametrize(
    ("left", "says"),
    [
        (Left(), "3 nodes, 7 to 11 steps (a round costs 10 more), 1.7 s expected"),
        (Left(bytes=10**5), "3 nodes, 100 steps, 11.0 s expected; bytes bind: "),
        (
            Left(seconds=2.0),
            "3 nodes, 10 to 14 steps (a round costs 10 more), 2.0 s expected; last: seconds run out",
        ),
        (Left(rounds=7), "3 nodes, 7 to 11 steps (a round costs 10 more), 1.7 s expected"),
    ],
)
def test_a_plan_says_itself_in_a_sentence(left: Left, says: str) -> None:
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1), C: known(0.6, 0.1)}
    seen = PlannerState(nodes, ratios=(10.0,))
    stop = StopRule(bytes=left.bytes, seconds=left.seconds, rounds=left.rounds)
    found = planned(policy.plan(work(stop=stop), seen, [Candidate(n, 1.0) for n in nodes], left, 1))
    assert found.why.startswith(says)
    assert len(found.why.encode()) <= 90
    assert "(halved twice)" in replace(found, halvings=2).why
