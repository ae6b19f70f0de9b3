"""What each update of a round was worth on held-out data (algorithms/contribution.py has the formula)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from muster.algorithms.contribution import (
    Arrays,
    Contributions,
    WeightedUpdate,
    Wide,
    first_order_value,
    moved,
    weighted_sum,
)
from muster.compression.tensors import Layout
from muster.learning import params
from muster.learning.faults import TaskFault
from muster.learning.hooks.measuring import Measuring
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch
from muster.learning.task import Task

BATCH = 250  # samples at once, unless the caller says how many


def contributions(
    task: Task,
    model: nn.Module,
    layout: Layout,
    before: Arrays,
    updates: Sequence[WeightedUpdate],
    data: Source,
    on_batch: Callable[[], None] = lambda: None,
    batch: int = BATCH,
) -> Contributions:
    """The values of one round's updates on `data`; `model` is overwritten. `on_batch` may raise.

    The loss is that of the task's training step, in evaluation mode.  Raises TaskFault when a loss or the
    gradient is not finite, TensorError for an update that does not fit.
    """
    if not task.automatic_optimization:
        raise TaskFault("a task that steps its optimisers itself has no one loss: no contributions")
    total = weighted_sum(layout, updates)

    def at(share: float) -> None:
        params.load_into(model, layout, moved(layout, before, total, share))

    at(0.0)
    begin, examples = mean_loss(task, model, data, on_batch, batch)
    at(1.0)
    end, _ = mean_loss(task, model, data, on_batch, batch)
    at(0.5)
    slope = gradient(task, model, layout, data, on_batch, batch)
    values = tuple(first_order_value(update, slope) for update in updates)
    if not all(map(math.isfinite, (begin, end, *values))):
        raise TaskFault("the held-out loss or its gradient is not finite: no contributions this round")
    return Contributions(values, begin, end, examples)


def mean_loss(
    task: Task, model: nn.Module, data: Source, on_batch: Callable[[], None], batch: int
) -> tuple[float, int]:
    """(the mean loss, the samples that it is of), of the model as it is."""
    measuring, loss_sum, examples = Measuring(task, model), 0.0, 0
    torch.manual_seed(0)  # noise that a step draws is the same for each model

    def step(part: Batch) -> float:
        return float(_loss(task, model, part).detach()) * part.count

    for given in measuring.batches(data, batch):
        loss_sum += sum(measuring.run(given, step))
        examples += given.count
        on_batch()
    return loss_sum / max(1, examples), examples


def gradient(
    task: Task,
    model: nn.Module,
    layout: Layout,
    data: Source,
    on_batch: Callable[[], None] = lambda: None,
    batch: int = BATCH,
) -> Wide:
    """The gradient of the mean loss on `data` at the model as it is, by tensor, in evaluation mode."""
    measuring, examples = Measuring(task, model), 0
    state = model.state_dict(keep_vars=True)
    names = [spec.name for spec in layout.tensors if spec.floating and spec.learnt]
    names = [name for name in names if state[name].requires_grad]
    sums = {name: torch.zeros(state[name].shape, dtype=torch.float64) for name in names}
    used: set[str] = set()
    torch.manual_seed(0)

    def step(part: Batch) -> None:
        loss = _loss(task, model, part) * part.count
        found = torch.autograd.grad(loss, [state[name] for name in names], allow_unused=True)
        for name, grad in zip(names, found, strict=True):
            if grad is not None:
                used.add(name)
                sums[name] += grad.to_dense().cpu()

    for given in measuring.batches(data, batch):
        measuring.run(given, step, gradients=True)
        examples += given.count
        on_batch()
    return {name: sums[name].numpy() / max(1, examples) for name in names if name in used}


def _loss(task: Task, model: nn.Module, part: Batch) -> torch.Tensor:
    loss = task.training_step(model, part.data)
    if not isinstance(loss, torch.Tensor):
        raise TaskFault("training_step() returned no loss: no contributions")
    return loss
