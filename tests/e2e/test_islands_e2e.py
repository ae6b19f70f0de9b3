"""Two islands that see disjoint classes of MNIST: what a merge is worth, and that all nodes have the same.

Three seeds with four nodes; `bench/fleet/two_islands.py` does it with eight.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from islands import APART, OFF_MAX, OVER, judge, live

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
DATA = Path(os.environ.get("MUSTER_MNIST") or Path(__file__).parents[3] / "shared" / "data" / "mnist.npz")
SEEDS = 0, 1, 2


@pytest.mark.skipif(
    not DATA.is_file(), reason=f"MNIST is not there: {DATA} (say where it is: MUSTER_MNIST=FILE)"
)
def test_two_islands_with_disjoint_classes_are_merged() -> None:
    told = []
    for seed in SEEDS:
        told.append(asyncio.run(live(DATA, nodes=4, seed=seed)))
        print(told[-1])
        assert all(APART <= rounds <= APART + OVER for rounds in told[-1].apart), told[-1]
        assert told[-1].story.behind[1] <= OFF_MAX, told[-1]
    # Where a round was committed while they met, it is merged by itself, and the first merge is of less.
    once = [one.story for one in told if one.merges == 1]
    assert len(once) >= 2, told
    judge(once)
