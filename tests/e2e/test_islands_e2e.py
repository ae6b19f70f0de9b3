"""Two islands that see disjoint classes of MNIST: what a merge is worth, and that all nodes have the same.

With real processes for one seed (`bench/islands.py` does it for three, with eight nodes), and in one process,
without a network, for two more.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch
from islands_live import live
from msgspec.structs import replace

from islands import RECIPE, parts_of, play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
DATA = Path(__file__).parents[3] / "shared" / "data" / "mnist.npz"
NODES = 4

needs_data = pytest.mark.skipif(not DATA.is_file(), reason=f"MNIST is not there: {DATA}")


@needs_data
def test_two_islands_with_disjoint_classes_are_merged() -> None:
    told = asyncio.run(live(DATA, NODES, seed=0))
    print(told)
    assert all(8 <= rounds <= 9 for rounds in told.apart), told
    told.story.judge()


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_islands_of_other_seeds_in_one_process(seed: int) -> None:
    torch.set_num_threads(2)
    task, parts, held_out = parts_of(DATA, NODES, seed)
    story = play(task, parts, held_out, replace(RECIPE, seed=seed))
    print(story)
    story.judge()
