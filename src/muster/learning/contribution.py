"""What each update of a round was worth on held-out data: first-order Shapley values.

In the game "how far does the held-out loss F fall when the updates of S are applied", linearised about the
round's own midpoint, the players' gains add up, so that Shapley, leave-one-out and Banzhaf values coincide:

    psi_i = -p_i <grad F(w + G/2), Delta_i>        G = sum_i p_i Delta_i

with w the model that the round began with, Delta_i the update as it was decoded and p_i the weight with which
it moved the model.  At the midpoint sum_i psi_i equals the true drop F(w) - F(w + G) up to third order in G,
and that drop is measured, too: the check.  One gradient, two evaluations and n dot products.  An update of
zeros is worth exactly zero.

(Shapley values by round: Wang, Rausch, Zhang, Jia, Song, "A Principled Approach to Data Valuation for
Federated Learning", 2020, arXiv 2009.06192; the linearisation is elementary.)

What the server's momentum and the downlink's rounding add to a model belongs to no update of the round and is
left out on both sides.  Statistics (a batch norm's) move by their weighted mean and earn nobody anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from muster.compression.tensors import Layout, check
from muster.learning import local_training as sgd
from muster.learning import params
from muster.learning.task import Task

BATCH = 250  # samples between two looks at whether to go on

Arrays = Mapping[str, NDArray[Any]]
Wide = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Part:
    """One update of a round: how far it moved the model (`weight`), and how to get at it."""

    weight: float
    read: Callable[[], Arrays]  # asked twice, so that one update is in memory at a time


@dataclass(frozen=True)
class Contributions:
    """`values` in the order of the parts, in units of the mean loss; `before` - `after` is the true drop."""

    values: tuple[float, ...]
    before: float
    after: float
    examples: int


def sample(data: sgd.Data, limit: int) -> sgd.Data:
    """At most `limit` samples, evenly from all of the data, the same ones each time."""
    count = min(limit, len(data))
    return data.at(np.arange(count) * len(data) // max(1, count))


def value(
    task: Task,
    model: nn.Module,
    layout: Layout,
    before: Arrays,
    parts: Sequence[Part],
    data: sgd.Data,
    on_batch: Callable[[], None] = lambda: None,
) -> Contributions:
    """The values of one round's updates on `data`; `model` is overwritten. `on_batch` may raise.

    Raises TaskFault when a loss or the gradient is not finite, TensorError for an update that does not fit.
    """
    total = _total(layout, parts)
    whole = sum(part.weight for part in parts) or 1.0

    def loss_at(share: float) -> float:
        params.load_into(model, layout, _moved(layout, before, total, share, whole))
        measured = sgd.evaluate(task, model, data, lambda _: on_batch())
        return measured.loss_sum / max(1, measured.examples)

    begin, end = loss_at(0.0), loss_at(1.0)
    params.load_into(model, layout, _moved(layout, before, total, 0.5, whole))
    slope = gradient(task, model, layout, data, on_batch)
    values = tuple(_worth(part, slope) for part in parts)
    if not all(map(math.isfinite, (begin, end, *values))):
        raise sgd.TaskFault("the held-out loss or its gradient is not finite: no contributions this round")
    return Contributions(values, begin, end, len(data))


def gradient(
    task: Task, model: nn.Module, layout: Layout, data: sgd.Data, on_batch: Callable[[], None] = lambda: None
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


def _total(layout: Layout, parts: Sequence[Part]) -> Wide:
    """G, and of statistics their weighted sum, folded one update at a time."""
    sums = {spec.name: np.zeros(spec.shape, np.float64) for spec in layout.tensors if spec.floating}
    for part in parts:
        update = part.read()
        check(layout.changes, update)
        for name, array in sums.items():
            array += update[name].astype(np.float64) * part.weight
    return sums


def _moved(layout: Layout, before: Arrays, total: Wide, share: float, whole: float) -> dict[str, Any]:
    """w + share * G in the layout's dtypes; statistics go by their mean, counters stay."""
    out: dict[str, Any] = {}
    for spec in layout.tensors:
        out[spec.name] = before[spec.name]
        if spec.floating:
            rate = share if spec.learnt else share / whole
            wide = before[spec.name].astype(np.float64) + rate * total[spec.name]
            out[spec.name] = wide.astype(spec.dtype)
    return out


def _worth(part: Part, slope: Wide) -> float:
    """-p <gradient, update>; 0.0 (not -0.0) for an update of zeros."""
    update = part.read()
    along = math.fsum(float(np.vdot(grad, update[name].astype(np.float64))) for name, grad in slope.items())
    return -part.weight * along + 0.0
