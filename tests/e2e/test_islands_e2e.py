"""Two islands that see disjoint classes of MNIST: what a merge is worth, and that all nodes have the same.

Three seeds with four nodes; `bench/fleet/two_islands.py` does it with eight.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from islands import APART, OVER, judge, live

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
DATA = Path(os.environ.get("MUSTER_MNIST") or Path(__file__).parents[3] / "shared" / "data" / "mnist.npz")
SEEDS = 0, 1, 2


@pytest.mark.skipif(
    not DATA.is_file(), reason=f"MNIST is not there: {DATA} (say where it is: MUSTER_MNIST=FILE)"
)
def test_two_islands_with_disjoint_classes_are_merged() -> None:
    stories = []
    for seed in SEEDS:
        told = asyncio.run(live(DATA, nodes=4, seed=seed))
        print(told)
        assert all(APART <= rounds <= APART + OVER for rounds in told.apart), told
        stories.append(told.story)
    judge(stories)
