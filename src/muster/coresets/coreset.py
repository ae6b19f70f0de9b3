"""A coreset: weighted samples, each input in a few bits, that stand for a node's data.

It is made by `kinds/`, written to bytes and read back by `coding/`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BITS_MAX = 8
# Only "means" tell of no single sample: each is over at least 20.  A robust centre may be one sample alone.
KINDS = ("samples", "medoids", "means", "robust")


@dataclass(frozen=True, eq=False)
class Space:
    """Where a task's samples lie: which inputs may travel, and how they are quantised.

    `kind`: "image" (any shape whose last two axes are height and width), "photo" (the same, by a lossy
    codec), or "table" (columns).  `low` and `high` are float32: one value each, or one a column of a table.
    """

    kind: str
    shape: tuple[int, ...]  # of one sample's inputs
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    classes: int  # labels are 0 .. classes - 1; 0: the targets are numbers


@dataclass(frozen=True, eq=False)
class Coreset:
    """`levels` (n, *shape) uint8 are 0 .. 2**bits - 1 between the space's `low` and `high`; `labels` (n,) are
    int64, or float32 where the space has no classes; `weights` (n,) float32 say how many samples each stands
    for."""

    space: Space
    kind: str  # of KINDS
    bits: int
    levels: NDArray[np.uint8]
    labels: NDArray[np.int64] | NDArray[np.float32]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.levels)

    def inputs(self) -> NDArray[np.float32]:
        """The samples' inputs, (n, *shape), as a model takes them."""
        low, high = self.space.low, self.space.high
        return (low + self.levels * ((high - low) / np.float32((1 << self.bits) - 1))).astype(np.float32)
