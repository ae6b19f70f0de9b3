"""Kinds whose samples are k-means centres of each class, each with the weight of its whole cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Space
from muster.coresets.kinds.clusters import clusters, means_of, nearest, points_of
from muster.coresets.kinds.summary import Summary, shared_out

SAMPLES_MIN = 20  # that a centre of `means` is the mean of


def robust(
    x: NDArray[np.float32], y: NDArray[Any], count: int, space: Space, rng: np.random.Generator
) -> Summary:
    """A robust coreset: one that serves many kinds of model.  A centre may be a single sample: raw data.

    Lu, Li, He, Wang, Narayanan, Chan, "Robust coreset construction for distributed machine learning", IEEE
    JSAC 38(10), 2020 (RCC by weighted k-means, here of each class by itself).
    """
    return centres(x, y, count, space, rng, 1)


def means(
    x: NDArray[np.float32], y: NDArray[Any], count: int, space: Space, rng: np.random.Generator
) -> Summary:
    """Centres of at least SAMPLES_MIN samples each; of a class with fewer samples nothing is shared."""
    return centres(x, y, count, space, rng, SAMPLES_MIN)


def centres(
    x: NDArray[np.float32],
    y: NDArray[Any],
    count: int,
    space: Space,
    rng: np.random.Generator,
    samples_min: int,
) -> Summary:
    """k-means centres of each class, each the mean of `samples_min` samples or more; no class of fewer."""
    inputs, targets, weights = [x[:0]], [y[:0]], [np.empty(0)]
    for members, given in shared_out(y, count, samples_min):
        points = points_of(x[members], y[members], space)
        assigned = _of_at_least(points, clusters(points, given, rng), samples_min)
        inputs.append(means_of(x[members], assigned))
        if space.classes:
            targets.append(np.full(int(assigned.max()) + 1, y[members[0]]))
        else:
            targets.append(means_of(y[members].astype(np.float32), assigned))
        weights.append(np.bincount(assigned).astype(np.float64))
    return Summary(
        np.concatenate(inputs), np.concatenate(targets), np.concatenate(weights).astype(np.float32)
    )


def _of_at_least(
    points: NDArray[np.float32], assigned: NDArray[np.int64], samples_min: int
) -> NDArray[np.int64]:
    """Dissolve the smallest cluster among those beside it until none has fewer than `samples_min` points.

    There must be as many points as that.
    """
    assigned, sizes = assigned.copy(), np.bincount(assigned)
    sums = means_of(points, assigned).astype(np.float64) * sizes[:, None]
    while sizes[open_ := np.flatnonzero(sizes)].min() < samples_min:
        smallest = open_[sizes[open_].argmin()]
        moved = np.flatnonzero(assigned == smallest)
        others = open_[open_ != smallest]
        centres = (sums[others] / sizes[others, None]).astype(np.float32)
        assigned[moved] = others[nearest(points[moved], centres)[0]]
        np.add.at(sums, assigned[moved], points[moved])
        np.add.at(sizes, assigned[moved], 1)
        sizes[smallest] = 0
    return np.unique(assigned, return_inverse=True)[1].reshape(-1)
