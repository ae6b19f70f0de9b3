"""Notices that inputs changed, whatever the model says of them: a few numbers of each sample, watched by
blocks.py.

It is the only look for models without classes, and a second one beside the entropy.  Of small samples (up to
16 numbers: sensor readings) each number is watched; of others, such as images, the mean, the deviation and
the roughness (mean absolute difference of neighbours along the last axis).  It cannot tell what hurts the
model from what does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.adaptation.blocks import BLOCK, Blocks
from muster.adaptation.noticing import Alarm

THRESHOLD = 8.0  # higher than for one series: up to 16 are looked at
SECOND_THRESHOLD = 10.0  # beside the entropy, which sees most of what matters
SMALL = 16  # numbers of a sample, each of which is watched
WHOLE = (
    "the mean of the inputs",
    "the deviation of the inputs",
    "the roughness of the inputs along their last axis",
    "the roughness of the inputs along the axis before it",
)
LARGEST = 1e12  # what larger numbers, and what are no numbers, count as


def small(x: NDArray[Any]) -> bool:
    """Whether each number of these samples (n, ...) is watched."""
    return 0 < math.prod(x.shape[1:]) <= SMALL


def statistics(x: NDArray[Any]) -> NDArray[np.float64]:
    """(n, k) numbers of a batch of samples (n, ...), float64."""
    rows = np.asarray(x)
    if not rows.size:
        return np.zeros((len(rows), len(WHOLE)))
    if small(rows):
        return _finite(rows.reshape(len(rows), -1).astype(np.float64))
    values = rows.astype(np.float32)
    if values.ndim < 3:
        values = values[:, None]
    within = tuple(range(1, values.ndim))
    with np.errstate(all="ignore"):
        rough = [_rough(values, axis) for axis in (-1, -2)]
        found = np.stack([values.mean(within), values.std(within), *rough], axis=1)
    return _finite(found.astype(np.float64))


def _rough(values: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """The mean absolute difference of neighbours, of each sample."""
    if values.shape[axis] < 2:
        return np.zeros(len(values), np.float32)
    found: NDArray[np.float32] = np.abs(np.diff(values, axis=axis)).mean(tuple(range(1, values.ndim)))
    return found


class InputNoticing:
    """The watch over the inputs of one model. Samples may be left out: those that are stored are enough."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self._threshold = threshold
        self._blocks: Blocks | None = None  # the first sample says how many numbers are watched
        self._sum, self._count = np.zeros(0), 0
        self.z: NDArray[np.float64] | None = None  # of the last 100 samples, by number

    def see(self, x: NDArray[Any]) -> Alarm | None:
        """Take one or more samples (n, ...); the first alarm among them, and a new reference begins."""
        x = np.asarray(x)
        names = None if small(x) else WHOLE
        alarms = [alarm for row in statistics(x) if (alarm := self._see(row, names)) is not None]
        return alarms[0] if alarms else None

    def _see(self, row: NDArray[np.float64], names: Sequence[str] | None) -> Alarm | None:
        if self._blocks is None or len(row) != self._blocks.width:
            self._blocks = Blocks(len(row))
            self._sum, self._count = np.zeros(len(row)), 0
        self._sum = self._sum + row
        self._count += 1
        if self._count < BLOCK:
            return None
        mean = self._sum / BLOCK
        self._sum, self._count = np.zeros(len(row)), 0
        self.z = self._blocks.add(mean)
        if self.z is None or np.abs(self.z).max() <= self._threshold:
            return None
        place = int(np.abs(self.z).argmax())
        z = float(self.z[place])
        self.reset()
        name = f"number {place + 1} of the inputs" if names is None else names[place]
        return Alarm(z, f"{name} {'rose' if z > 0 else 'fell'}")

    def reset(self) -> None:
        """Begin a new reference."""
        if self._blocks is not None:
            self._blocks.reset()
        self._sum, self._count = np.zeros_like(self._sum), 0

    def state(self) -> dict[str, Any]:
        """Plain values (JSON) from which `take_up` goes on after a restart."""
        blocks = self._blocks.state() if self._blocks is not None else {"reference": [], "later": []}
        return {"sum": self._sum.tolist(), "count": self._count, **blocks}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ValueError for anything else; nothing is changed then."""
        count = state.get("count")
        try:
            total = np.asarray(state.get("sum"), float)
        except (TypeError, ValueError) as error:
            raise ValueError("the state has no sound sums") from error
        if type(count) is not int or not 0 <= count < BLOCK:
            raise ValueError("the state has no sound count")
        if total.ndim != 1 or not np.isfinite(total).all():
            raise ValueError("the state has no sound sums")
        blocks = Blocks(len(total)) if len(total) else None
        if blocks is not None:
            blocks.take_up(state)
        self._blocks, self._sum, self._count, self.z = blocks, total, count, None


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(np.nan_to_num(values, nan=LARGEST, posinf=LARGEST, neginf=-LARGEST), -LARGEST, LARGEST)
