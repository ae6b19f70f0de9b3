"""Which nodes a round has stand-ins for, and how many steps they get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from muster.planning.codec_choice import Message
from muster.planning.costs import UNLIMITED, Left
from muster.planning.policy import Candidate, Work, plan
from muster.planning.round_plan import RoundPlan
from muster.planning.stand_ins import Absent, with_stand_ins
from muster.planning.state import (
    REST_ROUNDS,
    TRIAL_ROUNDS,
    NodeState,
    PlannerState,
    Shown,
    ShownUpdate,
    Trial,
    init,
    merged,
    observe,
)
from muster.protocol.parts import Cost, Power, Recipe, Steering, StopRule
from muster.protocol.records import Job

A, B, C, D = (x * 32 for x in (b"a", b"b", b"c", b"d"))
JOB = Job("linear", b"f" * 32, Recipe(0.1, 10, 20, 0), StopRule(rounds=50), 1, 20.0, b"n", share="always")
START = init()
AWAY = Absent(C, 100)


def given(
    state: PlannerState = START, *absent: Absent, job: Job = JOB, left: Left = UNLIMITED,
    power: Power | None = None, mine: Left = UNLIMITED, judged: bool = True, step_s: float = 0.1,
    others: tuple[bytes, ...] = (B,),
) -> RoundPlan:  # fmt: skip
    me = Candidate(A, step_s, local=True, power=power, left=mine)
    work = Work(job, Message(10_000, 0), 40_000)
    found = plan(work, state, [me, *(Candidate(n, 0.1, 10_000.0) for n in others)], left, 1)
    assert isinstance(found, RoundPlan)
    return with_stand_ins(found, job, state, me, absent or (AWAY,), left, judged=judged)


def whose(found: RoundPlan) -> list[bytes]:
    return [node for a in found.stand_ins for node in a.data]


def shown(round_: int, *nodes: bytes, loss: float | None = None, stood_in: tuple[bytes, ...] = ()) -> Shown:
    cost = Cost(2100, 2000, 100, "dense32", 0, 0, False)
    updates = tuple(ShownUpdate(n, 20, 0, cost) for n in nodes)
    return Shown(round_, updates, (), Steering(20, loss=loss), None, 100, frozenset(stood_in))


def after(*rounds: Shown) -> PlannerState:
    state = init()
    for one in rounds:
        state = observe(state, one)
    return state


def test_a_stand_in_does_the_steps_of_the_median_node_at_the_coordinator_and_sends_nothing() -> None:
    found, without = given(), given(job=replace_share("none"))
    (stand_in,) = found.stand_ins
    assert (stand_in.node, stand_in.data, stand_in.codec) == (A, (C,), "dense32")
    assert stand_in.steps == 20
    assert found.usage.bytes == without.usage.bytes
    assert not without.stand_ins


def replace_share(share: str) -> Job:
    return Job(
        JOB.task, JOB.fingerprint, JOB.recipe, JOB.stop, JOB.min_nodes, JOB.patience_s, JOB.nonce, share=share
    )


def test_one_that_has_work_and_was_heard_once_is_stood_in_for_until_it_was_in_a_round() -> None:
    once = Absent(B, 100, heard_once=True)
    assert whose(given(START, once)) == [B]
    assert not whose(given(START, Absent(B, 100)))
    assert not whose(given(after(shown(1, A, B)), once))
    assert not whose(given(START, once, job=replace_share("none")))


def test_a_round_gets_longer_by_the_coordinators_own_part_at_most() -> None:
    found = given(START, AWAY, Absent(D, 100))
    assert whose(found) == [C, D]
    steps = sum(a.steps for a in found.stand_ins)
    own = next(a.steps for a in found.round.assignments if a.node == A)
    before = given(job=replace_share("none")).round
    assert found.round.expected_s <= before.expected_s + own * 0.1 + 1e-9
    assert 10 <= steps <= 40


def test_with_too_little_time_for_all_they_take_turns() -> None:
    many = [Absent(bytes([i]) * 32, 100) for i in range(1, 12)]
    first = given(START, *many, step_s=0.4)
    assert 1 <= len(first.stand_ins) < len(many)
    assert all(a.steps >= 5 for a in first.stand_ins)
    state = after(shown(1, A, B, stood_in=tuple(whose(first))))
    assert not set(whose(given(state, *many, step_s=0.4))) & set(whose(first))


@pytest.mark.parametrize(("missed", "stands_in"), [(0, False), (1, False), (2, True), (6, True)])
def test_auto_stands_in_for_nodes_that_miss_over_a_fifth_of_the_rounds(missed: int, stands_in: bool) -> None:
    rounds = [shown(i, A, B, C) for i in range(1, 7)] + [shown(7 + i, A, B) for i in range(missed)]
    found = given(after(*rounds), job=replace_share("auto"))
    assert bool(found.stand_ins) is stands_in


def test_auto_stands_in_at_once_for_a_node_that_was_never_in_a_round_but_not_for_a_handful_of_samples() -> (
    None
):
    state, auto = after(shown(1, A, B)), replace_share("auto")
    assert given(state, job=auto).stand_ins
    assert not given(state, Absent(C, 14), job=auto).stand_ins
    assert given(state, Absent(C, 14)).stand_ins


def test_who_comes_and_goes_is_rare_by_how_he_came_and_went() -> None:
    state = after(*(shown(i, A, B, C) for i in range(1, 7)))
    assert not given(state, Absent(C, 100, 0.9), job=replace_share("auto")).stand_ins
    assert given(state, Absent(C, 100, 0.5), job=replace_share("auto")).stand_ins


def test_a_node_that_has_work_is_stood_in_for_where_it_mostly_comes_too_late() -> None:
    faithful = after(*(shown(i, A, B, C) for i in range(1, 7)))
    late = after(shown(1, A, B, C), *(shown(i, A, B) for i in range(2, 8)))
    for job in (JOB, replace_share("auto")):
        assert not given(faithful, job=job, others=(B, C)).stand_ins
        assert given(late, job=job, others=(B, C)).stand_ins
        assert not given(START, job=job, others=(B, C)).stand_ins


def test_auto_pauses_when_the_held_out_loss_is_worse_with_stand_ins_than_before_them() -> None:
    auto = replace_share("auto")
    rounds = [shown(i, A, B, loss=1.0) for i in range(1, 4)]
    worse = [shown(4 + i, A, B, loss=1.2, stood_in=(C,)) for i in range(TRIAL_ROUNDS)]
    state = after(*rounds, *worse)
    assert not given(state, job=auto).stand_ins
    assert given(state, job=auto, judged=False).stand_ins  # it says nothing of who is away
    assert given(state).stand_ins  # "always" is what somebody wants
    rested = after(*rounds, *worse, *(shown(20 + i, A, B, loss=1.0) for i in range(REST_ROUNDS)))
    assert given(rested, job=auto).stand_ins
    good = [shown(4 + i, A, B, loss=0.9, stood_in=(C,)) for i in range(3 * TRIAL_ROUNDS)]
    assert given(after(*rounds, *good), job=auto).stand_ins


def test_joules_and_seconds_that_are_left_bound_them() -> None:
    power = Power(1.0, 11.0, 0.0, 0.0, 0.0)
    assert len(given(START, AWAY, Absent(D, 100), power=power).stand_ins) == 2
    alone = given(job=replace_share("none"), power=power).joules[A]
    assert not given(power=power, mine=Left(joules=alone + 1.0)).stand_ins
    assert given(power=power, mine=Left(joules=alone + 100.0)).stand_ins


def test_a_stand_in_teaches_nothing_of_what_a_round_costs_but_is_remembered_over_a_merge() -> None:
    state = after(shown(1, A, B), shown(2, A, B, stood_in=(C,)))
    assert state.nodes[C] == NodeState(stood_in=2)
    other = replace(after(shown(1, A, B)), trial=Trial(1))
    assert merged(state, other, Steering()).nodes[C].stood_in == 2
    assert merged(other, state, Steering()).nodes[C].stood_in == 2


def test_who_was_never_in_is_stood_in_for_once_two_rounds_waited_for_it_in_vain() -> None:
    late = replace(shown(1, A, B), missed=(C,))
    everybody = (B, C)
    assert whose(given(START, others=everybody)) == []  # it has just offered
    assert whose(given(after(late), others=everybody)) == []
    assert whose(given(after(late, replace(late, round=2)), others=everybody)) == [C]
    came = shown(3, A, B, C)
    assert whose(given(after(late, replace(late, round=2), came), others=everybody)) == []
