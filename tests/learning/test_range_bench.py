"""How the benchmark of the range test judges: rounds to a target, over those of the best rate."""

from __future__ import annotations

import math
import sys

import pytest
from toys import BENCH, bench

sys.path.insert(0, str(BENCH))
judging = bench("range_test")


def test_a_part_of_a_round_counts() -> None:
    assert judging.rounds_to([4.0, 2.0, 1.0], 3.0) == pytest.approx(0.5)
    assert judging.rounds_to([4.0, 2.0, 1.0], 1.0) == pytest.approx(2.0)
    assert judging.rounds_to([4.0, 2.0, 1.0], 0.5) is None
    assert judging.rounds_to([4.0, math.nan], 3.0) is None


def test_the_best_rate_sets_the_target_at_half_of_the_rounds() -> None:
    grid = {0.05: [4.0, 3.0, 2.0, 1.5, 1.0], 0.1: [4.0, 2.0, 1.0, 0.5, 0.3], 0.2: [4.0, 5000.0]}
    found = {"lr": 0.07, "steps": 1, "seconds": 0.0, "curve": [4.0, 3.0, 2.0, 1.0, 0.9]}
    said = judging.judge(judging.Runs(grid, found))
    assert (said.best, said.times, said.usual) == (0.1, pytest.approx(1.5), pytest.approx(2.0))
    assert said.reached
    assert not said.diverged
    worse = judging.judge(judging.Runs(grid, found | {"curve": [4.0, 5.0]}))
    assert (worse.times, worse.reached, worse.diverged) == (4.0, False, True)
