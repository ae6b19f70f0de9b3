from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster.planning.rounds import (
    Missing,
    Overhead,
    Resources,
    closing_in_s,
    hopeful,
    learn_overhead,
    plan_round,
)

A, B, C = b"A" * 32, b"B" * 32, b"C" * 32

nodes = st.lists(
    st.builds(
        Resources,
        node=st.binary(min_size=32, max_size=32),
        step_s=st.floats(0.001, 10.0),
        overhead_s=st.floats(0.05, 100.0),
        codec=st.just("dense32"),
    ),
    min_size=1,
    max_size=9,
    unique_by=lambda r: r.node,
)


@given(nodes, st.integers(1, 200), st.integers(1, 5))
def test_a_plan_is_sound(resources: list[Resources], steps: int, min_nodes: int) -> None:
    round_ = plan_round(resources, steps, min_nodes)
    assert [a.node for a in round_.assignments] == sorted(r.node for r in resources)
    assert all(1 <= a.steps <= steps for a in round_.assignments)
    assert 1 <= round_.enough <= len(resources)
    assert round_.enough >= min(min_nodes, len(resources))
    assert round_.deadline_s > round_.expected_s > 0
    assert plan_round(resources[::-1], steps, min_nodes).assignments == round_.assignments


def test_the_slow_do_fewer_steps() -> None:
    fast = [Resources(n, 0.1, 0.5, "dense32") for n in (A, B)]
    round_ = plan_round([*fast, Resources(C, 0.3, 0.5, "dense32")], 40, 1)
    steps = {a.node: a.steps for a in round_.assignments}
    assert steps[A] == steps[B] == 40
    assert 10 <= steps[C] < 40


def closing(*missing: Missing, arrived: int = 2, enough: int = 2, age_s: float = 0.0) -> float | None:
    return closing_in_s(
        arrived=arrived, enough=enough, missing=missing, age_s=age_s, deadline_s=10.0, stall_s=5.0
    )


def test_all_in_closes_the_round() -> None:
    assert closing() == 0.0


def test_too_few_in_waits_however_long_it_takes() -> None:
    assert closing(Missing(A, False, None), arrived=1, age_s=1e6) is None


def test_the_reachable_are_waited_for_until_the_deadline() -> None:
    assert closing(Missing(A, True, None), age_s=4.0) == 6.0
    assert closing(Missing(A, True, None), age_s=11.0) == 0.0
    assert closing(Missing(A, False, None), age_s=4.0) == 0.0


def test_progress_is_waited_for_beyond_the_deadline_but_not_for_ever() -> None:
    assert closing(Missing(A, True, 1.0), age_s=12.0) == 5.0
    assert closing(Missing(A, True, 1.0), age_s=31.0) == 0.0
    assert closing(Missing(A, True, 6.0), age_s=12.0) == 0.0


def test_who_is_late_by_what_is_known_of_it_is_not_waited_for() -> None:
    assert closing(Missing(A, True, None, late_at_s=3.0), age_s=2.0) == 1.0
    assert closing(Missing(A, True, None, late_at_s=3.0), age_s=3.5) == 0.0
    assert closing(Missing(A, True, None, late_at_s=30.0), age_s=4.0) == 6.0
    assert closing(Missing(A, True, 1.0, late_at_s=3.0), age_s=12.0) == 5.0  # its bytes are coming


def test_the_steadier_a_node_is_the_sooner_it_is_late() -> None:
    def late_s(deviation_s: float | None) -> float:
        node = Resources(A, 0.1, 2.0, "dense32", deviation_s=deviation_s)
        return node.late_at_s(20) - node.expected_s(20)

    assert late_s(None) == 5.0  # half of what it takes, and three seconds
    assert late_s(0.01) == 1.0
    assert late_s(1.0) == 4.0
    assert late_s(60.0) == 5.0
    slow = Resources(A, 5.0, 2.0, "dense32", deviation_s=0.0)
    assert slow.late_at_s(20) == slow.expected_s(20) * 1.25
    busy = Resources(A, 0.1, 2.0, "dense32", busy_s=7.0, deviation_s=0.0)
    assert busy.late_at_s(20) == 4.0 + 1.0 + 7.0
    quick = Resources(A, 0.01, 0.3, "dense32", deviation_s=0.0)
    assert quick.late_at_s(20) == 1.0


def test_overhead_is_learnt() -> None:
    assert learn_overhead(None, 5.0, 2.0) == Overhead(3.0)
    assert learn_overhead(Overhead(1.0), 5.0, 2.0) == Overhead(2.0, 2.0)
    assert learn_overhead(None, 0.1, 2.0) == Overhead(0.05)
    assert learn_overhead(Overhead(3.0, 1.0), 5.0, 2.0) == Overhead(3.0, 0.75)


def test_an_update_is_hoped_for_while_its_maker_is_there_or_its_bytes_come() -> None:
    def hope(reachable: bool, progress_age_s: float | None, age_s: float) -> bool:
        return hopeful(Missing(A, reachable, progress_age_s), age_s, deadline_s=10.0, stall_s=5.0)

    assert hope(True, None, 20.0)
    assert hopeful(Missing(A, True, None), 5.9, deadline_s=1.0, stall_s=5.0)
    assert not hope(True, None, 21.0)
    assert not hope(False, None, 1.0)
    assert hope(False, 0.0, 100.0)
    assert not hope(False, 5.0, 1.0)
