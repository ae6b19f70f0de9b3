"""Which node trains on what all share, with which messages, and when that does not fit a budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from muster.planning.codec_choice import Message
from muster.planning.costs import UNLIMITED, Left
from muster.planning.policy import Candidate, Work
from muster.planning.pool import Pool, down_codec, plan_pool
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.state import init
from muster.planning.step_size import of_round
from muster.protocol.parts import Recipe, StopRule
from muster.protocol.records import Job

A, B, C = (x * 32 for x in (b"a", b"b", b"c"))
RECIPE = Recipe(0.1, 32, 0, 0, server_momentum=None)
JOB = Job("mnist", b"f" * 32, RECIPE, StopRule(rounds=1), 1, 20.0, b"n", share="always", one_shot=1000)
POOL = Pool((A, B, C), 30_000)
LOCAL = Candidate(A, 0.004, local=True)


def given(
    *candidates: Candidate, left: Left = UNLIMITED, job: Job = JOB, replaces: bool = False
) -> RoundPlan | NothingFits:
    work = Work(job, Message(6_000, 0), 24_000)
    return plan_pool(work, init(), POOL, candidates or (LOCAL,), left, 3, replaces=replaces)


def planned(*candidates: Candidate, job: Job = JOB, replaces: bool = False) -> RoundPlan:
    found = given(*candidates, job=job, replaces=replaces)
    assert isinstance(found, RoundPlan)
    return found


def trainer(found: RoundPlan) -> bytes:
    [assignment] = found.round.assignments
    return assignment.node


def test_the_coordinator_trains_on_all_and_the_model_goes_back_in_four_bits() -> None:
    found = planned()
    [assignment] = found.round.assignments
    assert (assignment.node, assignment.steps, assignment.codec) == (A, 1000, "dense32")
    assert assignment.data == (A, B, C)
    assert found.messages.down.codec == "quant4"
    assert found.round.enough == 1
    assert 4.0 < found.round.expected_s < 6.0
    assert found.usage.bytes >= POOL.size_bytes + 2 * found.messages.down.size_bytes


def test_a_node_that_shares_nothing_trains_with_its_own_data_among_it() -> None:
    other = Candidate(b"d" * 32, 0.0001, 1e6)
    assert planned(LOCAL, other).round.assignments[0].data == (A, B, C, b"d" * 32)


@pytest.mark.parametrize(
    ("step_s", "rate", "who"),
    [(0.0035, 1e6, A), (0.001, 1e6, B), (0.001, 1_000.0, A), (0.0001, 20_000.0, B), (0.001, 0.0, A)],
)
def test_who_is_a_good_deal_sooner_with_the_transfer_trains(step_s: float, rate: float, who: bytes) -> None:
    found = planned(LOCAL, Candidate(B, step_s, rate))
    assert trainer(found) == who
    if who == B:
        assert found.round.assignments[0].codec == "quant8"
        assert found.round.deadline_s > POOL.size_bytes / rate


def test_after_a_helper_that_did_not_do_it_the_coordinator_does() -> None:
    assert trainer(planned(LOCAL, Candidate(B, 0.001, 1e6), replaces=True)) == A


def test_no_more_steps_than_the_node_takes() -> None:
    assert planned(replace(LOCAL, steps_most=300)).round.assignments[0].steps == 300


def test_what_does_not_fit_the_budget_is_said() -> None:
    found = given(left=Left(bytes=20_000))
    assert isinstance(found, NothingFits)
    assert "shared samples" in found.why


def test_a_codec_that_leaves_most_of_the_model_out_is_not_for_it() -> None:
    assert [down_codec(name) for name in ("auto", "stc:0.01", "quant8", "dense32")] == [
        "quant4", "quant4", "quant8", "dense32",
    ]  # fmt: skip


def test_the_rounds_after_it_are_gentle() -> None:
    dense = ["quant8"] * 3
    assert of_round(JOB, dense) == (0.0, 0.2)
    assert of_round(structs.replace(JOB, one_shot=0), dense) == (0.8, 0.3)
    fixed = structs.replace(JOB, recipe=structs.replace(RECIPE, server_momentum=0.3))
    assert of_round(fixed, dense) == (0.3, 0.2)
