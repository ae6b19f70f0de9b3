from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from toys import Toy

from muster.learning import task_check as check
from muster.learning.task import Task


def examined(task: Task) -> tuple[str, ...]:
    ticks = iter(range(1000))
    return check.check(task, lambda: float(next(ticks)), lambda: 1).faults


def test_check_of_a_good_task() -> None:
    ticks = iter(range(1000))
    report = check.check(Toy(), lambda: float(next(ticks)), lambda: 123)
    assert report.good
    assert (report.samples, report.evaluation_samples, report.memory_bytes) == (300, 60, 123)
    assert report.step_s == 1 / check.STEPS


def test_check_names_faults() -> None:
    class Labels(Toy):
        def training_data(self) -> tuple[Any, Any]:
            x, y = super().training_data()
            return x, y + 1

    class Nan(Toy):
        def training_data(self) -> tuple[Any, Any]:
            x, y = super().training_data()
            return np.where(x > 3, np.nan, x), y

    class Dice(Toy):
        def model(self) -> nn.Module:
            model = super().model()
            nn.init.constant_(model[0].bias, float(next(dice)))  # type: ignore[index, arg-type, union-attr]
            return model

    class Flat(Toy):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return output.sum() * 0

    class Overcount(Toy):
        def correct(self, output: torch.Tensor, target: torch.Tensor) -> int:
            return 2 * len(target)

    class Infinite(Toy):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return super().loss(output, target) * torch.inf

    dice = iter(range(100))
    expected = {
        Labels: "labels go from 1 to 3",
        Nan: "not finite",
        Dice: "differs between two calls",
        Flat: "changed no parameter",
        Overcount: "counted 120 right of 60",
        Infinite: "the loss became inf",
    }
    for kind, words in expected.items():
        assert any(words in fault for fault in examined(kind())), (kind, examined(kind()))
