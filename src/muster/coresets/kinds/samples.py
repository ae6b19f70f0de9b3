"""Kinds whose samples are real ones: raw data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Space
from muster.coresets.kinds.clusters import clusters, means_of, points_of
from muster.coresets.kinds.summary import Summary, shared_out


def uniform(
    x: NDArray[np.float32], y: NDArray[Any], count: int, space: Space, rng: np.random.Generator
) -> Summary:
    """`count` samples at random, each class in proportion and at least once.

    The best kind for images that a network is trained on with augmentation: a mean of dozens of images is a
    blurred one that no other looks like.
    """
    found, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for members, given in shared_out(y, count):
        found.append(np.sort(rng.choice(members, given, replace=False)))
        weights.append(np.full(given, len(members) / given))
    chosen = np.concatenate(found)
    return Summary(x[chosen], y[chosen], np.concatenate(weights).astype(np.float32))


def medoids(
    x: NDArray[np.float32], y: NDArray[Any], count: int, space: Space, rng: np.random.Generator
) -> Summary:
    """The sample nearest to each k-means centre of its class; it stands for the cluster.

    Better than chance below some ten samples a class.
    """
    found, weights = [np.empty(0, np.int64)], [np.empty(0)]
    for members, given in shared_out(y, count):
        points = points_of(x[members], y[members], space)
        assigned = clusters(points, given, rng)
        away = np.square(points - means_of(points, assigned)[assigned]).sum(1)
        order = np.lexsort((away, assigned))
        found.append(members[order[np.flatnonzero(np.diff(assigned[order], prepend=-1))]])
        weights.append(np.bincount(assigned).astype(np.float64))
    chosen = np.concatenate(found)
    return Summary(x[chosen], y[chosen], np.concatenate(weights).astype(np.float32))
