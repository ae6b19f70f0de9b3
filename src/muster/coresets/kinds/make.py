"""The kinds by their names, and which one is usual."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Coreset, Space
from muster.coresets.kinds.centres import SAMPLES_MIN, means, robust
from muster.coresets.kinds.samples import medoids, uniform
from muster.coresets.kinds.summary import Summary, groups, quantised
from muster.coresets.spaces import range_of

Kind = Callable[[NDArray[np.float32], NDArray[Any], int, Space, np.random.Generator], Summary]

# by the names of coreset.KINDS
KINDS: dict[str, Kind] = {"samples": uniform, "medoids": medoids, "means": means, "robust": robust}
CLUSTERED_MAX = 10_000  # inputs of one image; distances between larger ones say little and take long
FEW = 10  # samples a class; below, medoids are better than chance


def usual_kind(space: Space, classes: int, count: int, means_only: bool) -> str:
    """The kind for `count` samples of data with so many classes; `means_only`: no samples may be shared."""
    if means_only:
        return "means"
    if len(space.shape) == 1:
        return "robust"
    few = count < FEW * max(1, classes)
    return "medoids" if few and math.prod(space.shape) <= CLUSTERED_MAX else "samples"


def make(
    kind: str,
    x: NDArray[np.float32],
    y: NDArray[Any],
    count: int,
    space: Space,
    bits: int,
    rng: np.random.Generator,
) -> Coreset:
    """A coreset of at most `count` samples of `x` (n, *shape) with targets `y` (n,), of a kind of KINDS.

    Its weights sum to n, or where `count` is below the number of classes, and for means where a class is too
    small, to the samples of the classes that are in it.  It is sorted by label.  Equal arguments and an equal
    state of `rng` give equal coresets.
    """
    return coded(KINDS[kind](x, y, count, space, rng), space, kind, bits)


def coded(summary: Summary, space: Space, kind: str, bits: int) -> Coreset:
    """A summary in `bits` bits an input.  Means narrow the space to their own range: that of the data is the
    value of one sample at each end."""
    if kind == "means" and len(summary):
        low, high = range_of(summary.x, space)
        space = replace(space, low=low, high=high)
    return quantised(summary, space, kind, bits)


def most(kind: str, y: NDArray[Any]) -> int:
    """How many samples a coreset of data with targets `y` can have at most."""
    least = SAMPLES_MIN if kind == "means" else 1
    return sum(len(members) // least for members in groups(y))
