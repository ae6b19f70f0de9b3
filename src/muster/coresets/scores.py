"""What a node can measure of a coreset by its own data: how well it predicts, how much levels blur."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Coreset, Space
from muster.coresets.kinds.clusters import nearest
from muster.coresets.kinds.summary import Summary, groups
from muster.coresets.spaces import unit


def losses(coreset: Coreset, x: NDArray[np.float32], y: NDArray[Any], space: Space) -> NDArray[np.float64]:
    """Of predicting each sample's target as that of the nearest sample in the coreset: 1 or 0 for wrong or
    right, for numbers the squared error over their variance."""
    found, _ = nearest(unit(x, space), unit(coreset.inputs(), space))
    predicted = coreset.labels[found]
    if space.classes:
        return np.asarray(predicted != y, np.float64)
    errors = np.asarray(predicted, np.float64) - y
    return np.asarray(errors * errors / (float(np.var(y, dtype=np.float64)) or 1.0))


def spacing(x: NDArray[np.float32], y: NDArray[Any], space: Space) -> float:
    """The mean squared distance from a sample to the nearest other of its class.

    Where no class has two: of any class.  0 for a single sample.
    """
    several = [members for members in groups(y) if len(members) > 1]
    near = [_apart(unit(x[members], space)) for members in several or [np.arange(len(x))] if len(x) > 1]
    return float(np.concatenate(near).mean()) if near else 0.0


def _apart(points: NDArray[np.float32]) -> NDArray[np.float32]:
    squares = np.einsum("ij,ij->i", points, points)
    found = squares[:, None] + squares - 2 * points @ points.T
    np.fill_diagonal(found, np.inf)
    return np.asarray(np.maximum(found.min(1), 0), np.float32)


def blur(summary: Summary, coreset: Coreset, space: Space) -> float:
    """The mean squared distance by which quantisation moved the summary's samples."""
    moved = unit(summary.x, space) - unit(coreset.inputs(), space)
    return float(np.square(moved).sum(1).mean()) if len(summary) else 0.0
