"""k-means: greedy k-means++, then Lloyd, in few dimensions where the points have many.

numpy alone: scikit-learn's KMeans takes a second and 60 MB to import on a small device, and its cost is the
same (bench/coresets/kinds.py).  Arthur, Vassilvitskii, "k-means++: the advantages of careful seeding", SODA
2007; the projection: Halko, Martinsson, Tropp, "Finding structure with randomness", SIAM Review 53(2), 2011.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Space
from muster.coresets.spaces import unit

ITERATIONS = 10  # of Lloyd; more gain less than another start
RESTARTS = 4  # of which the best is kept, where all of them are a fraction of a second
RESTARTS_WORK = 1_000_000  # points * centres * dimensions
DIMENSIONS = 40
POINTS_MAX = 20_000  # that centres are sought on
DISTANCES_MAX = 4_000_000  # at a time


def clusters(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The cluster of each of `points` (n, d), 0 .. k - 1 with k at most `count` and no cluster empty.

    k is less where there are fewer different points.
    """
    if count >= len(points):
        return np.arange(len(points))
    near = _projected(points, rng)
    fitted = near if len(near) <= POINTS_MAX else rng.choice(near, POINTS_MAX, replace=False)
    again = RESTARTS if near.size * count <= RESTARTS_WORK else 1
    centres, _ = min((_lloyd(fitted, count, rng) for _ in range(again)), key=lambda found: found[1])
    _, assigned = np.unique(nearest(near, centres)[0], return_inverse=True)
    return assigned.astype(np.int64).reshape(-1)


def points_of(x: NDArray[np.float32], y: NDArray[Any], space: Space) -> NDArray[np.float32]:
    """Samples as points to cluster: each column over its range, and numbers to predict as one more column.

    That one weighs as much as all inputs, so that samples with unlike targets are not averaged.
    """
    points = unit(x, space)
    if space.classes:
        return points
    low, high = y.min(), y.max()
    targets = (y - low) / (high - low) if high > low else np.zeros(len(y))
    return np.column_stack([points, targets * np.sqrt(points.shape[1])]).astype(np.float32)


def means_of(values: NDArray[np.float32], assigned: NDArray[np.int64]) -> NDArray[np.float32]:
    """The mean of `values` (n, ...) over each cluster, in order; no cluster is empty."""
    order = np.argsort(assigned, kind="stable")
    starts = np.flatnonzero(np.diff(assigned[order], prepend=-1))
    rows = values.reshape(len(values), -1)[order]
    sums = np.add.reduceat(rows, starts, axis=0, dtype=np.float64)
    means = sums / np.diff(starts, append=len(order))[:, None]
    return means.astype(np.float32).reshape(-1, *values.shape[1:])


def _projected(points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Points in the directions in which they differ most, which hardly changes the distances between them."""
    centred = np.asarray(points - points.mean(0), np.float32)
    if min(points.shape) <= 2 * DIMENSIONS:
        return centred
    fitted = centred if len(centred) <= POINTS_MAX else rng.choice(centred, POINTS_MAX, replace=False)
    basis = rng.standard_normal((points.shape[1], DIMENSIONS + 10)).astype(np.float32)
    for _ in range(2):
        basis = np.linalg.qr(fitted.T @ (fitted @ basis))[0]
    seen = fitted @ basis
    _, turned = np.linalg.eigh(seen.T @ seen)
    return np.asarray(centred @ (basis @ turned[:, -DIMENSIONS:]), np.float32)


def _lloyd(
    points: NDArray[np.float32], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], float]:
    centres = _seeds(points, count, rng)
    assigned, distances = nearest(points, centres)
    for _ in range(ITERATIONS):
        filled, compact = np.unique(assigned, return_inverse=True)
        centres[filled] = means_of(points, compact.reshape(-1))
        before, (assigned, distances) = assigned, nearest(points, centres)
        if np.array_equal(before, assigned):
            break
    return centres, float(distances.sum(dtype=np.float64))


def _seeds(points: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """k-means++: of some candidates, drawn by squared distance, each centre is the one that costs least."""
    chosen = [int(rng.integers(len(points)))]
    tries = 2 + int(np.log(count))
    squares = np.einsum("ij,ij->i", points, points)
    distances = _squared(points, squares, points[chosen])[0]
    for _ in range(count - 1):
        total = distances.sum(dtype=np.float64)
        if not total > 0:
            break
        drawn = np.searchsorted(
            np.cumsum(distances, dtype=np.float64), rng.random(tries) * total, side="right"
        )
        drawn = np.minimum(drawn, len(points) - 1)
        lowered = np.minimum(distances, _squared(points, squares, points[drawn]))
        best = int(lowered.sum(1, dtype=np.float64).argmin())
        chosen.append(int(drawn[best]))
        distances = lowered[best]
        distances[chosen[-1]] = 0
    return points[chosen]


def _squared(
    points: NDArray[np.float32], squares: NDArray[np.float32], centres: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Squared distances (centres, points)."""
    found = squares - 2 * (centres @ points.T) + np.einsum("ij,ij->i", centres, centres)[:, None]
    return np.asarray(np.maximum(found, 0), np.float32)


def nearest(
    points: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The nearest centre of each point, and its squared distance."""
    assigned = np.empty(len(points), np.int64)
    distances = np.empty(len(points), np.float32)
    rows = max(1, DISTANCES_MAX // len(centres))
    for at in range(0, len(points), rows):
        part = points[at : at + rows]
        found = _squared(part, np.einsum("ij,ij->i", part, part), centres)
        assigned[at : at + rows] = found.argmin(0)
        distances[at : at + rows] = found.min(0)
    return assigned, distances
