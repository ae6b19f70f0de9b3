"""A model's figures on held-out data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from muster.learning.data import Data
from muster.learning.task import Task

EVALUATION_BATCH = 500


@dataclass(frozen=True)
class Evaluation:
    """Sums over the examples, so that figures of several nodes can be pooled."""

    examples: int
    figures: dict[str, tuple[float, float]]  # name -> (sum, what it was taken of)

    def mean(self, name: str) -> float:
        """A metric's mean; NaN where it was not measured."""
        total, count = self.figures.get(name, (math.nan, 1.0))
        return total / count if count else math.nan

    @property
    def accuracy(self) -> float:
        return self.mean("accuracy")

    @property
    def loss(self) -> float:
        return self.mean("loss")


def evaluate(
    task: Task, model: nn.Module, data: Data, on_batch: Callable[[int], None] | None = None
) -> Evaluation:
    """`model` on `data`, in batches; a loss that is not finite is reported, not raised."""
    model.eval()
    correct, loss_sum = 0, 0.0
    with torch.inference_mode():
        for begin in range(0, len(data), EVALUATION_BATCH):
            x, y = data.x[begin : begin + EVALUATION_BATCH], data.y[begin : begin + EVALUATION_BATCH]
            output = model(x)
            loss_sum += float(task.loss(output, y)) * len(x)
            correct += int(task.correct(output, y))
            if on_batch is not None:
                on_batch(begin + len(x))
    count = float(len(data))
    return Evaluation(len(data), {"accuracy": (float(correct), count), "loss": (loss_sum, count)})
