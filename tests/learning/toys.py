"""A tiny task, its data and its training, for the tests of this folder."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from muster.learning import local_training, params
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.task import Task

BENCH = Path(__file__).parents[2] / "bench" / "learning"

torch.set_num_threads(1)  # the models are tiny; several threads would only wait for one another


class Toy(Task):
    """Three clouds of points in the plane."""

    name = "toy"

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))

    def training_data(self) -> tuple[Any, Any]:
        rng = np.random.default_rng(1)
        y = np.arange(300) % 3
        return (rng.normal(size=(300, 2)) + 4 * np.eye(3)[y][:, :2]).astype(np.float32), y

    def evaluation_data(self) -> tuple[Any, Any]:
        x, y = self.training_data()
        return x[:60], y[:60]


class Plain(Toy):
    """Without batch norm, which a node with one class would lead astray."""

    def model(self) -> nn.Module:
        return nn.Linear(2, 3)


RECIPE: dict[str, Any] = {"steps": 30, "lr": 0.1, "batch": 16, "momentum": 0.5, "seed": 3}


def data() -> ArraySource:
    return as_arrays(Toy().training_data(), "training_data")


def trained(**changes: Any) -> tuple[nn.Module, local_training.TrainingSummary]:
    model = params.fresh_model(Toy(), 0)
    return model, local_training.train(Toy(), model, data(), **(RECIPE | changes))


def bench(name: str) -> Any:
    """A module of bench/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
