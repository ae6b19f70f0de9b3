"""How many local steps: the rule, the window, and the guard that halves them."""

from __future__ import annotations

import pytest

from muster.planning import steps
from muster.protocol.parts import Steering


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.0, 1), (0.1, 1), (1.0, 1.7), (10.0, 6.77), (100.0, 26.9), (1000.0, 100)]
)
def test_the_usual_steps_by_the_ratio(ratio: float, expected: float) -> None:
    assert steps.usual_steps(ratio) == pytest.approx(expected, rel=0.01)


def test_steps_change_at_most_twofold_from_round_to_round() -> None:
    assert steps.steered_steps(1000.0, Steering()) == 100
    assert steps.steered_steps(1000.0, Steering(steps=10)) == 20
    assert steps.steered_steps(0.1, Steering(steps=10)) == 5
    assert steps.steered_steps(100.0, Steering(steps=27, halvings=1)) == 14


def test_each_takes_what_fits_the_window() -> None:
    assert steps.fitting_steps(2.0, 1.0, 0.1) == 10
    assert steps.fitting_steps(2.0, 1.0, 0.8) == 1
    assert steps.fitting_steps(2.0, 3.0, 0.1) == 1
    assert steps.fitting_steps(200.0, 1.0, 0.1) == 100


def after(losses: list[float | None]) -> list[Steering]:
    found = [Steering()]
    for loss in losses:
        found.append(steps.watch(found[-1], loss, 20))
    return found


def test_a_loss_that_falls_changes_nothing() -> None:
    assert after([2.0 * 0.9**i for i in range(20)])[-1].halvings == 0
    assert after([-0.1 * (1 + i) for i in range(20)])[-1].halvings == 0  # losses may be negative


def test_a_loss_that_stands_still_halves_once_and_the_halving_is_taken_back() -> None:
    states = after([1.0] * 12)
    assert [s.halvings for s in states[:7]] == [0, 0, 0, 0, 0, 1, 1]
    assert states[9].halvings == 0
    assert states[9].taken_back == 1
    assert after([1.0] * 60)[-1].halvings == 0  # and is not tried again


def test_a_halving_that_helps_stays_and_the_next_may_follow() -> None:
    falls = [1.0] * 5 + [0.7] * 6 + [0.5] * 6 + [0.35] * 30
    states = after(falls)
    assert max(s.halvings for s in states) >= 2
    assert max(s.halvings for s in states) <= steps.HALVINGS_MOST


def test_a_single_step_is_not_halved() -> None:
    """Else a job whose rounds become dear later would begin with an eighth of the steps."""
    falls = [1.0] * 5 + [0.7] * 6 + [0.5] * 6 + [0.35] * 30
    found = Steering()
    for loss in falls:
        found = steps.watch(found, loss, 1)
    assert found.halvings == 0


def test_no_figures_no_conclusion() -> None:
    assert after([None] * 20)[-1] == Steering(steps=20)
    assert after([float("nan")] * 20)[-1].halvings == 0


def test_a_merge_takes_the_fewer_steps_and_forgets_the_losses() -> None:
    a, b = Steering(steps=20, halvings=1, loss=0.3, best=0.3), Steering(steps=8, loss=0.9, best=0.8)
    assert steps.merged(a, b) == steps.merged(b, a)
    assert steps.merged(a, b).steps == 8
    assert steps.merged(a, b).halvings == 1
    assert steps.merged(a, b).loss is None
    assert steps.merged(Steering(), Steering(steps=3)).steps == 3
