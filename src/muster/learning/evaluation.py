"""A model's loss and correct answers on held-out data."""

from __future__ import annotations

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
    correct: int
    loss_sum: float

    @property
    def accuracy(self) -> float:
        return self.correct / max(self.examples, 1)


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
    return Evaluation(len(data), correct, loss_sum)
