"""What each update of a round was worth to a task that has no gradient to offer.

The value of `algorithms/contribution.py`, -<grad F(m), p Delta> at the round's midpoint m, by a central
difference over the update itself: F(m - p Delta / 2) - F(m + p Delta / 2).  Both agree up to third order in
Delta, as the sum of the values and the true drop do.  Two evaluations an update, and two for the drop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from muster.algorithms.contribution import Arrays, Contributions, WeightedUpdate, Wide, moved, weighted_sum
from muster.compression.tensors import Layout
from muster.learning.arrays import array_task
from muster.learning.faults import TaskFault
from muster.learning.task import Task


def contributions(
    task: Task,
    layout: Layout,
    before: Arrays,
    updates: Sequence[WeightedUpdate],
    on_measured: Callable[[], None] = lambda: None,
) -> Contributions:
    """The values of one round's updates by the task's own loss. `on_measured` may raise.

    Raises TaskFault when a loss is missing or not finite, TensorError for an update that does not fit.
    """
    total = weighted_sum(layout, updates)
    counts: list[float] = []

    def loss_of(arrays: Arrays) -> float:
        loss_sum, count = array_task.measure(task, arrays).get("loss", (math.nan, 1.0))
        counts.append(count)
        on_measured()
        if not math.isfinite(loss_sum):
            raise TaskFault("the held-out loss is missing or not finite: no contributions this round")
        return loss_sum / count

    begin = loss_of(before)
    end = loss_of(moved(layout, before, total, 1.0))
    middle = moved(layout, before, total, 0.5)
    values = []
    for update in updates:
        step = _learnt(layout, update)
        below, above = (moved(layout, middle, step, share) for share in (-0.5, 0.5))
        values.append(loss_of(below) - loss_of(above) + 0.0)
    return Contributions(tuple(values), begin, end, int(min(counts)))


def _learnt(layout: Layout, update: WeightedUpdate) -> Wide:
    """p Delta of the learnt arrays; statistics, which earn nobody anything, stay (NaN)."""
    return {
        name: array * math.nan if layout.by_name[name].averaged else array
        for name, array in weighted_sum(layout, [update]).items()
    }
