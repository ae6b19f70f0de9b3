"""The policy: a round from what the history shows, and one that fits into what is left."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from muster.planning import policy, state
from muster.planning.codec_choice import Message
from muster.planning.costs import Left
from muster.planning.policy import UNKNOWN_RATE_BYTES_S, Candidate, Work
from muster.planning.round_plan import NothingFits, RoundPlan
from muster.planning.rounds import Overhead
from muster.planning.state import NodeState, PlannerState, Shown, ShownUpdate
from muster.planning.step_size import step_size
from muster.planning.steps import merged, usual_steps
from muster.protocol.parts import Cost, Power, Recipe, Steering, StopRule, Target
from muster.protocol.records import Job

A, B, C, D = (bytes([i]) * 32 for i in range(1, 5))
MODEL_BYTES = 20_000_000
AUTO = Recipe(0.1, 16, 0, 1, server_momentum=None)


def work(recipe: Recipe = AUTO, stop: StopRule | None = None, weights: int = 6000) -> Work:
    stop = stop or StopRule(target=Target("accuracy", 0.9))
    return Work(Job("t", bytes(32), recipe, stop, 1, 20.0, b""), Message(weights), MODEL_BYTES)


def planned(found: RoundPlan | NothingFits) -> RoundPlan:
    assert isinstance(found, RoundPlan)
    return found


def steps_of(found: RoundPlan | NothingFits) -> dict[bytes, int]:
    return {a.node: a.steps for a in planned(found).round.assignments}


def known(overhead_s: float, step_s: float, **more: object) -> NodeState:
    return NodeState(3, Overhead(overhead_s, 0.1), (step_s,), **more)  # type: ignore[arg-type]


def test_steps_follow_the_ratio_and_each_node_takes_what_fits() -> None:
    nodes = {A: known(1.0, 0.1), B: known(0.5, 0.1), C: known(1.0, 0.8), D: known(0.2, 0.01)}
    seen = PlannerState(nodes, ratios=(10.0,))
    found = steps_of(policy.plan(work(), seen, [Candidate(n, 9.9) for n in nodes], Left(), 1))
    assert found[A] == round(usual_steps(10.0)) == 7
    assert found[B] == 12  # its messages take less
    assert found[C] == 1
    assert found[D] == 14  # at most twice as many


def test_a_fixed_number_of_steps_is_kept_but_by_the_slow() -> None:
    recipe = replace(AUTO, steps=20)
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1), C: known(1.0, 0.8)}
    candidates = [Candidate(n, 9.9) for n in nodes]
    found = steps_of(policy.plan(work(recipe), PlannerState(nodes, ratios=(9.0,)), candidates, Left(), 1))
    assert found == {A: 20, B: 20, C: 5}


def test_nobody_is_given_more_steps_than_its_owner_allows() -> None:
    """Whether the job says how many or the planner finds them."""
    candidates = [Candidate(A, 0.01), Candidate(B, 0.01, steps_most=4)]
    for steps in (0, 10, 300):
        recipe = replace(AUTO, steps=steps)
        found = steps_of(policy.plan(work(recipe), state.init(), candidates, Left(), 1))
        assert found[B] == 4
        assert found[A] > 4


def test_a_node_takes_no_more_steps_than_it_may() -> None:
    candidates = [Candidate(A, 0.01), Candidate(B, 0.01, steps_most=3)]
    assert steps_of(policy.plan(work(), state.init(), candidates, Left(), 1))[B] == 3


def first_s(candidate: Candidate) -> float:
    found = planned(policy.plan(work(), state.init(), [candidate], Left(), 1))
    return found.resources[0].overhead_s


def test_the_first_round_is_expected_by_what_a_node_reported() -> None:
    assert first_s(Candidate(A, 0.01, local=True)) < 1.0
    assert first_s(Candidate(B, 0.01, 1e6)) < 1.0
    assert first_s(Candidate(B, 0.01, has_model=False, usual_bytes_s=1e6)) == pytest.approx(20.5, abs=0.5)
    assert first_s(Candidate(B, 0.01, has_model=False)) > MODEL_BYTES / UNKNOWN_RATE_BYTES_S
    assert first_s(Candidate(B, 0.01)) < 1.0


def test_the_order_in_which_nodes_are_named_changes_nothing() -> None:
    nodes = {A: known(1.0, 0.1), B: known(0.5, 0.2), C: known(1.0, 0.8)}
    candidates = [Candidate(n, 1.0) for n in nodes]
    seen = PlannerState(nodes, ratios=(5.0, 9.0))
    one = planned(policy.plan(work(), seen, candidates, Left(), 1))
    other = planned(policy.plan(work(), seen, candidates[::-1], Left(), 1))
    assert one == other


@pytest.mark.parametrize(("bytes_left", "binds"), [(10**9, "bytes"), (40_000, "bytes"), (20_000, "bytes")])
def test_bytes_that_bind_ask_for_many_steps(bytes_left: int, binds: str) -> None:
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1)}
    stop = StopRule(bytes=10**9)
    found = planned(
        policy.plan(work(stop=stop), PlannerState(nodes), [Candidate(n, 1.0) for n in nodes],
                    Left(bytes=bytes_left), 1)
    )  # fmt: skip
    assert found.binds == binds
    assert found.tau == 100
    assert found.usage.bytes <= bytes_left


def test_joules_that_bind_count_what_waiting_draws() -> None:
    nodes = {A: known(10.0, 0.1), B: known(10.0, 0.1)}

    def tau(idle_w: float) -> int:
        candidates = [Candidate(n, 1.0, power=Power(idle_w, 4.0)) for n in nodes]
        left = Left(joules=1e6)
        return planned(policy.plan(work(), PlannerState(nodes, ratios=(100.0,)), candidates, left, 1)).tau

    assert tau(0.01) < tau(0.5) < tau(4.0)


@pytest.mark.parametrize("left_s", [0.9, 1.2, 2.0, 3.7, 10.0, 100.0])
def test_the_last_round_fits_what_is_left_and_takes_it(left_s: float) -> None:
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1)}
    found = policy.plan(
        work(),
        PlannerState(nodes, ratios=(10.0,)),
        [Candidate(n, 1.0) for n in nodes],
        Left(seconds=left_s),
        1,
    )
    if left_s < 1.1:
        assert isinstance(found, NothingFits)
        assert "0.9 s are left" in found.why
        return
    round_ = planned(found)
    assert round_.usage.seconds <= left_s
    if round_.last:
        assert round_.usage.seconds > left_s - 0.2 or round_.tau == 100


@pytest.mark.parametrize("left_bytes", [30, 700, 2_000, 6_000, 20_000, 60_000])
def test_messages_fit_into_the_bytes_that_are_left(left_bytes: int) -> None:
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1), C: known(1.0, 0.1)}
    found = policy.plan(
        work(), PlannerState(nodes), [Candidate(n, 1.0) for n in nodes], Left(bytes=left_bytes), 1
    )
    if isinstance(found, NothingFits):
        assert left_bytes < 100
        return
    assert found.usage.bytes <= left_bytes
    if found.last:
        assert found.usage.bytes > left_bytes / 3


def test_nodes_that_have_spent_their_part_are_left_out_and_it_is_said() -> None:
    nodes = {A: known(1.0, 0.1), B: known(1.0, 0.1)}
    seen = PlannerState(nodes)
    poor = Candidate(A, 1.0, left=Left(bytes=10))
    assert steps_of(policy.plan(work(), seen, [poor, Candidate(B, 1.0)], Left(), 1)).keys() == {B}
    nothing = policy.plan(work(), seen, [poor], Left(), 1)
    assert isinstance(nothing, NothingFits)
    assert nothing.poor == (A,)


@pytest.mark.parametrize(
    ("codecs", "momentum", "factor"),
    [
        (["dense32"], 0.8, 0.3), (["quant4", "stc:0.1"], 0.8, 0.3), (["stc:0.05"] * 3, 0.5, 0.6),
        (["stc:0.02", "stc:0.01"], 0.0, 1.0), ([], 0.8, 0.3),
    ],
)  # fmt: skip
def test_momentum_goes_with_density(codecs: list[str], momentum: float, factor: float) -> None:
    assert step_size(AUTO, codecs) == (momentum, factor)
    assert step_size(replace(AUTO, server_momentum=0.3), codecs) == (0.3, 1.0)


# ---- the state


def shown(round_: int, turnaround_ms: int, train_ms: int = 1000, *, nodes: tuple[bytes, ...] = (A, B),
          missed: tuple[bytes, ...] = (), codec: str = "stc:0.02", staleness: int = 0) -> Shown:  # fmt: skip
    cost = Cost(turnaround_ms, train_ms, 300, codec, 90)
    updates = tuple(ShownUpdate(n, 10, staleness, cost) for n in nodes)
    return Shown(round_, updates, missed, Steering(steps=10), "stc:0.05", 700)


def test_what_rounds_took_is_learnt() -> None:
    seen = state.init()
    for round_ in range(1, 6):
        seen = state.observe(seen, shown(round_, 3000))
    node = seen.nodes[A]
    assert node.overhead == Overhead(2.0, pytest.approx(0.0))
    assert node.step_s == 0.1
    assert seen.ratios == (20.0, 20.0, 20.0)
    assert [s.size_bytes for s in node.samples] == [300, 1000, 1000, 1000, 1000]
    assert [m.codec for m in seen.down] == ["stc:0.05"] * 3
    assert node.round == 5


def test_a_node_that_was_not_waited_for_may_take_longer() -> None:
    seen = state.observe(state.observe(state.init(), shown(1, 3000)), shown(2, 3100))
    late = state.observe(seen, shown(3, 3000, nodes=(A,), missed=(B,)))
    before, after = seen.nodes[B].overhead, late.nodes[B].overhead
    assert before is not None
    assert after is not None
    assert (after.deviation_s or 0) > (before.deviation_s or 0)


def test_what_is_not_known_teaches_nothing() -> None:
    seen = state.observe(state.init(), shown(1, 0, 0))
    assert seen.nodes[A].overhead is None
    assert seen.nodes[A].step_s is None
    assert seen.ratios == ()


def test_a_probe_measures_the_link_and_is_no_message_like_others() -> None:
    probe = Shown(1, (ShownUpdate(A, 10, 0, Cost(3000, 1000, 900, "stc:0.1", 9, 0, True)),), (), Steering())
    seen = state.observe(state.init(), probe)
    assert seen.nodes[A].sent == ()
    assert len(seen.nodes[A].samples) == 1


def test_states_of_branches_merge_in_either_order() -> None:
    a = state.observe(state.init(), shown(1, 3000, nodes=(A, B)))
    b = state.observe(state.observe(state.init(), shown(1, 2000, nodes=(B,))), shown(2, 2000, nodes=(B, C)))
    steering = merged(a.steering, b.steering)
    one, other = state.merged(a, b, steering), state.merged(b, a, steering)
    assert one == other
    assert one.nodes.keys() == {A, B, C}
    assert one.nodes[B] == b.nodes[B]
    assert one.is_merge


def test_the_state_is_the_same_however_it_is_come_by() -> None:
    """A restarted coordinator folds the same commits again."""
    rounds = [shown(i, 2500 + 100 * (i % 4), nodes=(A, B) if i % 3 else (B,)) for i in range(1, 30)]

    def fold() -> PlannerState:
        seen = state.init()
        for one in rounds:
            seen = state.observe(seen, one)
        return seen

    assert fold() == fold()
    assert all(b.round >= a.round for a, b in pairwise(rounds))
