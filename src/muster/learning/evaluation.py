"""A model's figures on held-out data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from muster.learning.faults import TaskFault
from muster.learning.hooks.measuring import Measuring
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch
from muster.learning.task import Task

EVALUATION_BATCH = 500
BATCH_BYTES = 16_000_000  # of all that a model's modules give out for a batch, if the recipe's is smaller

Sums = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Evaluation:
    """Sums over the examples, so that figures of several nodes can be pooled."""

    examples: int
    figures: Sums  # name -> (sum, what it was taken of)
    skipped: int = 0  # samples with NaN that were left out batch by batch

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
    task: Task,
    model: nn.Module,
    data: Source,
    on_batch: Callable[[int], None] | None = None,
    *,
    batch: int = EVALUATION_BATCH,
    limit: int | None = None,
) -> Evaluation:
    """`model` on `data` (at most `limit` samples of it), in batches that are halved when memory is short.

    A figure that is not finite is reported, not raised.  Samples with NaN are left out if the task skips
    them.
    """
    measuring = Measuring(task, model)
    examples, totals = 0, Sums()
    for given in measuring.batches(data, batch, limit):
        for found in measuring.run(given, lambda part: figures_of(task, model, part)):
            for name, (total, count) in found.items():
                before = totals.get(name, (0.0, 0.0))
                totals[name] = before[0] + total, before[1] + count
        examples += given.count
        if on_batch is not None:
            on_batch(examples)
    return Evaluation(examples, totals, measuring.skipped)


def figures_of(task: Task, model: nn.Module, batch: Batch) -> Sums:
    """What validation_step() says of a batch. Raises TaskFault where it is no {name: (sum, count)}."""
    found = task.validation_step(model, batch.data)
    if not isinstance(found, Mapping):
        raise TaskFault(
            f"validation_step() must return a dict of name -> (sum, count), not {type(found).__name__}"
        )
    return {str(name): _pair(str(name), value) for name, value in found.items()}


def _pair(name: str, value: Any) -> tuple[float, float]:
    try:
        total, count = value
        return _number(total), _number(count)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskFault(f"validation_step() must give {name!r} as (sum, count), not {value!r}") from error


def _number(value: Any) -> float:
    return float(value.detach() if isinstance(value, torch.Tensor) else value)


def fitting_batch(task: Task, model: nn.Module, example: Batch, least: int) -> int:
    """How many samples to evaluate at once: `least` (the recipe's batch, whose training needs more memory),
    or more of a model whose modules give out little for a sample."""
    given = 0

    def count(module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal given
        if isinstance(output, torch.Tensor):
            given += output.numel() * output.element_size()

    hooks = [module.register_forward_hook(count) for module in model.modules()]
    measuring = Measuring(task, model)
    try:
        measuring.run(measuring.placed(example), lambda part: task.validation_step(model, part.data))
    finally:
        for hook in hooks:
            hook.remove()
    each = max(1, given // max(1, example.count))
    return max(least, min(EVALUATION_BATCH, BATCH_BYTES // each))
