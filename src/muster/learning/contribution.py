"""What each update of a round was worth on held-out data (algorithms/contribution.py has the formula)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from muster.algorithms.contribution import (
    Arrays,
    WeightedUpdate,
    Wide,
    first_order_value,
    moved,
    weighted_sum,
)
from muster.compression.tensors import Layout
from muster.learning import params
from muster.learning.data import Data, TaskFault
from muster.learning.evaluation import evaluate
from muster.learning.task import Task

BATCH = 250  # samples between two looks at whether to go on


@dataclass(frozen=True)
class Contributions:
    """`values` in the order of the updates, in units of the mean loss.

    `before` - `after` is the true drop of the mean loss over `examples`.
    """

    values: tuple[float, ...]
    before: float
    after: float
    examples: int


def sample(data: Data, limit: int) -> Data:
    """At most `limit` samples, evenly from all of the data, the same ones each time."""
    count = min(limit, len(data))
    return data.at(np.arange(count) * len(data) // max(1, count))


def contributions(
    task: Task,
    model: nn.Module,
    layout: Layout,
    before: Arrays,
    updates: Sequence[WeightedUpdate],
    data: Data,
    on_batch: Callable[[], None] = lambda: None,
) -> Contributions:
    """The values of one round's updates on `data`; `model` is overwritten. `on_batch` may raise.

    Raises TaskFault when a loss or the gradient is not finite, TensorError for an update that does not fit.
    """
    total = weighted_sum(layout, updates)

    def loss_at(share: float) -> float:
        params.load_into(model, layout, moved(layout, before, total, share))
        return evaluate(task, model, data, lambda _: on_batch()).loss

    begin, end = loss_at(0.0), loss_at(1.0)
    params.load_into(model, layout, moved(layout, before, total, 0.5))
    slope = gradient(task, model, layout, data, on_batch)
    values = tuple(first_order_value(update, slope) for update in updates)
    if not all(map(math.isfinite, (begin, end, *values))):
        raise TaskFault("the held-out loss or its gradient is not finite: no contributions this round")
    return Contributions(values, begin, end, len(data))


def gradient(
    task: Task, model: nn.Module, layout: Layout, data: Data, on_batch: Callable[[], None] = lambda: None
) -> Wide:
    """The gradient of the mean loss on `data` at the model as it is, by tensor, in evaluation mode."""
    model.eval()
    model.zero_grad(set_to_none=True)
    for begin in range(0, len(data), BATCH):
        x, y = data.x[begin : begin + BATCH], data.y[begin : begin + BATCH]
        loss = task.loss(model(x), y) * (len(x) / len(data))
        loss.backward()  # type: ignore[no-untyped-call]
        on_batch()
    state = model.state_dict(keep_vars=True)
    found = {
        spec.name: grad.numpy().astype(np.float64)
        for spec in layout.tensors
        if spec.floating and spec.learnt and (grad := state[spec.name].grad) is not None
    }
    model.zero_grad(set_to_none=True)
    return found
