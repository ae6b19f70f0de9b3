"""The benchmark of smaller models: its federation follows a shape, and what is logged is not run again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[3] / "bench" / "learning"))

from bytes_training import Data
from slimming import Log, masks
from slimming_federation import Way, gradually, models


def little() -> Data:
    data, rng = object.__new__(Data), np.random.default_rng(0)
    data.x = data.x_test = torch.from_numpy(rng.normal(size=(40, 1, 28, 28)).astype(np.float32))
    data.y = data.y_test = torch.arange(40) % 10
    data.parts = [torch.arange(20), torch.arange(20, 40)]
    data.weights = np.array([0.5, 0.5])
    return data


def weights(way: Way, rounds: int = 3) -> list[int]:
    found = models(little(), way, rounds, 1)
    return [sum(p.numel() for p in net.parameters()) for net, _ in found]


def test_a_model_has_its_width_from_the_round_on_in_which_it_is_pruned() -> None:
    assert weights(Way(steps=1)) == [5994] * 3
    assert weights(Way(steps=1, width=0.5)) == [2202] * 3
    assert weights(Way(steps=1, prune=((2, 0.5),))) == [5994, 2202, 2202]
    assert weights(Way(steps=1, prune=((2, 0.5),), by="chance")) == [5994, 2202, 2202]
    assert weights(Way(steps=1, density=0.0, slice_of_last=0.5), 1) == [5994]


def test_a_way_down_ends_at_its_width() -> None:
    assert gradually(12, 24, 0.5) == ((12, 0.9), (15, 0.8), (18, 0.7), (21, 0.6), (24, 0.5))


def test_a_cell_that_is_in_the_log_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert Log(path).cell("a", lambda: 1) == 1
    assert Log(path).cell("a", lambda: 2) == 1
    assert json.loads(path.read_text()) == {"cell": "a", "value": 1}
    assert all(row["mask_bytes"] > row["bytes"] - row["masked"] > 0 for row in masks())
