"""First-order Shapley values: what each update of a round was worth, from one gradient.

In the game "how far does the held-out loss F fall when the updates of S are applied", linearised about the
round's own midpoint, the players' gains add up, so that Shapley, leave-one-out and Banzhaf values coincide:

    psi_i = -p_i <grad F(w + G/2), Delta_i>        G = sum_i p_i Delta_i

with w the model that the round began with, Delta_i the update as it was decoded and p_i the weight with which
it moved the model.  At the midpoint sum_i psi_i equals the true drop F(w) - F(w + G) up to third order in G,
and that drop is measured, too: the check.  It takes one gradient, two evaluations and n dot products.  An
update of zeros is worth exactly zero.

(Shapley values by round: Wang, Rausch, Zhang, Jia, Song, "A Principled Approach to Data Valuation for
Federated Learning", 2020, arXiv 2009.06192; the linearisation is elementary.)

What the server's momentum and the downlink's rounding add to a model belongs to no update of the round and is
left out on both sides.  Statistics (a batch norm's) move by their weighted mean and earn nobody anything.

The held-out loss and its gradient need torch: learning/contribution.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.compression.tensors import Layout, check, is_unchanged

Arrays = Mapping[str, NDArray[Any]]
Wide = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Contributions:
    """What each update of a round was worth, in the order of the updates, in units of the mean loss.

    `before` - `after` is the true drop of the mean loss over `examples` (0: there is no such data).
    """

    values: tuple[float, ...]
    before: float
    after: float
    examples: int


@dataclass(frozen=True)
class WeightedUpdate:
    """One update of a round: how far it moved the model (`weight`), and how to read it."""

    weight: float
    read: Callable[[], Arrays]  # called twice, so that one update is in memory at a time


def weighted_sum(layout: Layout, updates: Sequence[WeightedUpdate]) -> Wide:
    """G by tensor in fp64, and of statistics the weighted mean of their values, NaN where none changed.

    One update at a time is in memory.

    Raises TensorError for an update that does not fit.
    """
    sums = {spec.name: np.zeros(spec.shape, np.float64) for spec in layout.tensors if spec.floating}
    changed_by: dict[str, float] = {}
    for weighted in updates:
        update = weighted.read()
        check(layout.changes, update)
        for name, array in sums.items():
            if layout.by_name[name].averaged:
                if is_unchanged(update[name]):
                    continue
                changed_by[name] = changed_by.get(name, 0.0) + weighted.weight
            array += update[name].astype(np.float64) * weighted.weight
    for spec in layout.tensors:
        if spec.averaged:
            sums[spec.name] = sums[spec.name] / (changed_by.get(spec.name, 0.0) or math.nan)
    return sums


def moved(layout: Layout, before: Arrays, total: Wide, share: float) -> dict[str, Any]:
    """w + share * G in the layout's dtypes; statistics go that far towards their mean, counters stay."""
    out: dict[str, Any] = {}
    for spec in layout.tensors:
        out[spec.name] = before[spec.name]
        if spec.floating and not (spec.averaged and is_unchanged(total[spec.name])):
            wide = before[spec.name].astype(np.float64)
            wide += share * (total[spec.name] - wide if spec.averaged else total[spec.name])
            out[spec.name] = wide.astype(spec.numpy_dtype)
    return out


def first_order_value(weighted: WeightedUpdate, gradient: Wide) -> float:
    """-p <gradient, update>; 0.0 (not -0.0) for an update of zeros."""
    update = weighted.read()
    along = math.fsum(
        float(np.vdot(grad, update[name].astype(np.float64))) for name, grad in gradient.items()
    )
    return -weighted.weight * along + 0.0
