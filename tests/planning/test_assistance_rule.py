"""Who trains in the place of a slow asker, on how many bytes of its samples, and when that pays."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from msgspec import structs

from muster.planning.assistance import (
    STEPS_USUAL,
    TIMES_MIN,
    Lent,
    Terms,
    assisted,
    first_terms,
    room_bytes,
    steps_ahead,
)
from muster.planning.codec_choice import Message
from muster.planning.costs import UNLIMITED, Left
from muster.planning.policy import Candidate, Work
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.rounds import Overhead
from muster.planning.state import NodeState, PlannerState, Trial, init
from muster.planning.step_size import of_round
from muster.planning.steps import STEPS_MOST
from muster.protocol.parts import Recipe, StopRule, Target
from muster.protocol.records import Job

A, B, C, D = (x * 32 for x in (b"a", b"b", b"c", b"d"))
RECIPE = Recipe(0.1, 32, 0, 0)
JOB = Job("mnist", b"f" * 32, RECIPE, StopRule(rounds=20), 1, 20.0, b"n", share="auto")
SLOW_S, FAST_S, MBIT = 0.08, 0.01, 125_000.0
ASKER = Candidate(A, SLOW_S, local=True)
HELPER = Candidate(B, FAST_S, MBIT, has_data=False)
LENT = Lent(A, SLOW_S, 4000, 94_000)


def given(
    *nodes: Candidate, lent: Lent | None = LENT, job: Job = JOB, state: PlannerState | None = None,
    left: Left = UNLIMITED, judged: bool = False,
) -> RoundPlan | NothingFits:  # fmt: skip
    work = Work(job, Message(29_000, 0), 116_000)
    return assisted(work, state or init(), lent, nodes or (ASKER, HELPER), left, 1, judged=judged)


def planned(*nodes: Candidate, **more: Any) -> RoundPlan:
    found = given(*nodes, **more)
    assert isinstance(found, RoundPlan)
    return found


def who(found: RoundPlan) -> dict[bytes, tuple[bytes, ...]]:
    return {a.node: a.data for a in found.round.assignments}


# ---- the rule ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "times"),
    [  # 400 steps of 0.08 s alone; 4 s at the helper, of which each hundred begins with half a second
        (0, 32 / 6.0),
        (94_000, 32 / (6.0 + 0.752 + 8.46)),  # sent, and written by a slow node
        (1_000_000, 32 / (6.0 + 8.0 + 90.0)),
    ],
)
def test_how_much_sooner_the_steps_are_done(size_bytes: int, times: float) -> None:
    assert first_terms(SLOW_S, FAST_S, MBIT, 100).times(400, size_bytes) == pytest.approx(times)


@pytest.mark.parametrize(
    ("asker_s", "step_s", "rate", "steps", "room"),
    [
        (0.08, 0.01, MBIT, 400, 4.0 / 98e-6),  # as long as the helper's steps take
        (0.08, 0.01, 0.0, 400, 4.0 / 152.5e-6),  # the rate is not known
        (0.8, 0.1, MBIT, 400, 64_000),  # more teaches no more
        (0.013, 0.01, MBIT, 400, 0),  # the rounds cost what is saved
        (0.01, 0.01, MBIT, 400, 0),
        (0.01, 0.08, MBIT, 400, 0),
        (0.08, 0.01, MBIT, 1, 0),  # nothing is left to do
        (1e-6, 1e-7, MBIT, 400, 0),  # a round is dearer than all of it
    ],
)
def test_samples_take_what_the_rule_leaves_them(
    asker_s: float, step_s: float, rate: float, steps: int, room: int
) -> None:
    assert room_bytes(first_terms(asker_s, step_s, rate, 100), steps) == pytest.approx(room, abs=1.0)


@drawn(
    st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(0.0, 1e3), st.integers(1, 1000),
    st.floats(0.0, 1e9), st.integers(1, 1_000_000),
)  # fmt: skip
def test_samples_that_fill_the_room_always_pay(
    asker_s: float, step_s: float, round_s: float, tau: int, rate: float, steps: int
) -> None:
    terms = Terms(asker_s, step_s, round_s, tau, rate)
    room = room_bytes(terms, steps)
    assert room >= 0
    if room:
        f = terms.times(steps, room)
        assert f >= TIMES_MIN * (1 - 1e-9)
        latency_s = math.ceil(steps / tau) * round_s
        rule_s = steps * step_s * (asker_s / step_s / f - 1)
        assert terms.sending_s(room) + latency_s <= rule_s * (1 + 1e-6) + 1e-6


@pytest.mark.parametrize(
    ("stop", "left", "steps"),
    [
        (StopRule(rounds=20), Left(rounds=20), 20 * STEPS_MOST),
        (StopRule(rounds=20), Left(rounds=3), 3 * STEPS_MOST),
        (StopRule(rounds=100, target=Target("accuracy", 0.97)), Left(rounds=100), STEPS_USUAL),
        (StopRule(seconds=80.0), Left(seconds=8.0), 100),
        (StopRule(seconds=80.0), Left(seconds=-1.0), 1),
        (StopRule(target=Target("accuracy", 0.97)), Left(), STEPS_USUAL),
        (StopRule(bytes=10_000), Left(bytes=10), STEPS_USUAL),
    ],
)
def test_steps_that_a_job_has_yet_to_do(stop: StopRule, left: Left, steps: int) -> None:
    assert steps_ahead(structs.replace(JOB, stop=stop), SLOW_S, left) == steps


# ---- the round --------------------------------------------------------------------------------------


def test_the_helper_takes_the_askers_part_in_long_rounds() -> None:
    found = planned()
    assert who(found) == {B: (A,)}
    assert found.round.assignments[0].steps == STEPS_MOST
    assert "1 helps" in found.why
    assert "times as soon as the asker" in found.why


def test_steps_that_are_asked_for_stay() -> None:
    job = structs.replace(JOB, recipe=structs.replace(RECIPE, steps=7))
    assert planned(job=job).round.assignments[0].steps == 7


def test_several_helpers_share_it_but_for_one_that_would_be_waited_for() -> None:
    slow = Candidate(D, 0.05, MBIT, has_data=False)
    found = planned(ASKER, HELPER, replace(HELPER, node=C), slow)
    assert who(found) == {B: (A,), C: (A,)}


def test_others_with_data_do_their_own_part_beside_it() -> None:
    found = planned(ASKER, Candidate(C, 0.01, MBIT), HELPER)
    assert who(found) == {B: (A,), C: ()}


@pytest.mark.parametrize(
    ("nodes", "more", "why"),
    [
        ((ASKER, HELPER), {"lent": None}, "the asker shares no samples"),
        ((ASKER, HELPER), {"lent": replace(LENT, why_none="it may not")}, "it may not"),
        ((ASKER, HELPER), {"lent": replace(LENT, samples=14)}, "too few"),
        ((ASKER, replace(HELPER, step_s=SLOW_S)), {}, "does not pay: 2000 steps"),
        ((ASKER, replace(HELPER, reported_bytes_s=50.0)), {}, "does not pay"),
        ((ASKER, HELPER), {"lent": replace(LENT, size_bytes=50_000_000)}, "does not pay"),
    ],
)
def test_why_the_asker_goes_on_alone(nodes: tuple[Candidate, ...], more: dict[str, Any], why: str) -> None:
    found = planned(*nodes, left=Left(rounds=20), **more)
    assert who(found) == {A: ()}
    assert f"; without helpers: {found.unhelped}" in found.why
    assert why in found.unhelped


def test_always_is_always() -> None:
    slow = replace(HELPER, step_s=SLOW_S)
    assert who(planned(ASKER, slow, job=structs.replace(JOB, share="always"))) == {B: (A,)}


def test_without_an_asker_in_reach_its_helpers_go_on_whatever_it_takes() -> None:
    assert who(planned(replace(HELPER, step_s=1.0))) == {B: (A,)}


def test_helpers_alone_with_nothing_to_train_on_get_no_round() -> None:
    found = given(HELPER, lent=None)
    assert isinstance(found, NothingFits)
    assert found.poor == (B,)


def test_rounds_without_helpers_are_as_ever() -> None:
    found = planned(ASKER, Candidate(C, 0.01, MBIT))
    assert who(found) == {A: (), C: ()}
    assert not found.helps
    assert not found.unhelped


def test_what_rounds_took_counts_more_than_what_was_expected() -> None:
    seen = NodeState(3, Overhead(9.0, 0.1), (FAST_S,) * 3)
    assert who(planned(state=PlannerState({B: seen}), left=Left(rounds=17))) == {A: ()}
    better = replace(seen, overhead=Overhead(0.3, 0.1))
    assert who(planned(state=PlannerState({B: better}), left=Left(rounds=17))) == {B: (A,)}
    long_ago = PlannerState({A: NodeState(100, Overhead(0.1), (SLOW_S,)), B: seen})
    assert who(planned(state=long_ago, left=Left(rounds=17))) == {B: (A,)}


def test_a_helper_that_is_late_again_and_again_is_not_asked_for_a_while() -> None:
    def after(missed: int, rounds_ago: int) -> dict[bytes, tuple[bytes, ...]]:
        late = NodeState(1, Overhead(0.3, 0.1), (FAST_S,), missed=missed, missed_at=10)
        newest = NodeState(10 + rounds_ago, Overhead(0.1), (SLOW_S,))
        return who(planned(state=PlannerState({A: newest, B: late}), left=Left(rounds=50)))

    assert after(1, 0) == {B: (A,)}
    assert after(4, 0) == {A: ()}
    assert after(4, 12) == {B: (A,)}


def test_rounds_with_helpers_that_make_the_loss_worse_are_left_out_for_a_while() -> None:
    state = PlannerState(trial=Trial(rest=5))
    assert who(planned(state=state, judged=True)) == {A: ()}
    assert who(planned(state=state, judged=False)) == {B: (A,)}


def test_rounds_in_the_place_of_one_node_are_plain_steps() -> None:
    free = structs.replace(JOB, recipe=structs.replace(RECIPE, server_momentum=None))
    assert of_round(free, ["dense32"]) == (0.8, 0.3)
    assert of_round(free, ["dense32"], helped=True) == (0.0, 1.0)
    given_ = structs.replace(JOB, recipe=structs.replace(RECIPE, server_momentum=0.5))
    assert of_round(given_, ["dense32"], helped=True) == (0.5, 1.0)
