"""Whether the last values differ from those long before them, in their mean, for several series at once.

Values come in blocks of 25.  The first 1,000 values are the reference, which grows to 4,000 by those that are
more than 1,000 old.  With each block the means of the last 100 and of the last 400 are compared to it: large
changes are seen at once, small ones a little later.  Neighbouring samples are alike (a camera sees one thing
for a while), so that the spread is not that of single values: it is taken from the means of as many
neighbours in the reference, and is never less than independent values would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 25
REFERENCE_BLOCKS = 40  # from so many on there is a reference
REFERENCE_BLOCKS_MAX = 160
LATER_BLOCKS = 40  # which do not belong to the reference yet
SHORT, LONG = 4, 16  # blocks whose mean is compared
LONG_WEIGHT = 4 / 3  # by which the longer mean counts more: it meets fewer false alarms
LONG_REFERENCE = 64  # blocks, of which the spread of the longer mean can be measured
ROUNDING = 1e-9
LARGEST = 1e6  # spreads

Vector = NDArray[np.float64]


class Blocks:
    """The means of the blocks so far: of the reference, and of those behind it."""

    def __init__(self, width: int, least_spread: float = 0.0) -> None:
        """`width`: how many series; `least_spread`: what no spread of 100 values is below, in their unit."""
        self.width, self.least_spread = width, least_spread
        self.reset()

    def reset(self) -> None:
        """Begin a new reference."""
        self._reference = np.empty((0, self.width))
        self._later = np.empty((0, self.width))

    @property
    def ready(self) -> bool:
        """Whether there is a reference."""
        return len(self._reference) >= REFERENCE_BLOCKS

    def add(self, mean: Vector) -> Vector | None:
        """Take the means of one more block: (width,) values.

        How many spreads the last 100 values are off, or the last 400 if that says more, for each series;
        None: not enough are known.
        """
        row = np.asarray(mean, float).reshape(1, self.width)
        if not self.ready:
            self._reference = np.concatenate([self._reference, row])
            return None
        self._later = np.concatenate([self._later, row])
        if len(self._later) > LATER_BLOCKS:
            if len(self._reference) < REFERENCE_BLOCKS_MAX:
                self._reference = np.concatenate([self._reference, self._later[:1]])
            self._later = self._later[1:]
        if len(self._later) < SHORT:
            return None
        centre, spread = self._reference.mean(0), self._spread()
        short = (self._later[-SHORT:].mean(0) - centre) / self._between(spread, SHORT)
        off: Vector = np.clip(short, -LARGEST, LARGEST)
        if len(self._later) >= LONG:
            at_length = np.maximum(spread / math.sqrt(LONG / SHORT), self._of_neighbours(LONG))
            long = LONG_WEIGHT * (self._later[-LONG:].mean(0) - centre) / self._between(at_length, LONG)
            off = np.clip(np.where(np.abs(long) > np.abs(short), long, short), -LARGEST, LARGEST)
        return off

    def _spread(self) -> Vector:
        """Of means of 100 neighbours."""
        independent = self._reference.std(0, ddof=1) / math.sqrt(SHORT)
        rounding = ROUNDING * (np.abs(self._reference.mean(0)) + 1.0)  # of a series that never changed
        least = np.maximum(rounding, self.least_spread)
        found: Vector = np.maximum(np.maximum(self._of_neighbours(SHORT), independent), least)
        return found

    def _of_neighbours(self, count: int) -> Vector:
        """The spread of means of `count` neighbouring blocks in the reference; 0: it is too short for
        that."""
        if count > SHORT and len(self._reference) < LONG_REFERENCE:
            return np.zeros(self.width)
        sums = np.concatenate([np.zeros((1, self.width)), np.cumsum(self._reference, axis=0)])
        found: Vector = ((sums[count:] - sums[:-count]) / count).std(0, ddof=1)
        return found

    def _between(self, spread: Vector, count: int) -> Vector:
        """Of the difference to the reference's mean, which is not certain either."""
        return spread * math.sqrt(1 + count / len(self._reference))

    def state(self) -> dict[str, Any]:
        """Plain values from which `take_up` goes on."""
        return {"reference": self._reference.tolist(), "later": self._later.tolist()}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ValueError for what it did not give, and changes nothing."""
        reference, later = (self._rows(state, name) for name in ("reference", "later"))
        if len(reference) > REFERENCE_BLOCKS_MAX or len(later) > LATER_BLOCKS:
            raise ValueError("there are more blocks than a state has")
        if len(later) and len(reference) < REFERENCE_BLOCKS:
            raise ValueError("there are blocks behind a reference that is not complete")
        self._reference, self._later = reference, later

    def _rows(self, state: Mapping[str, Any], name: str) -> NDArray[np.float64]:
        try:
            rows = np.asarray(state[name], float).reshape(-1, self.width)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the state has no sound {name!r}") from error
        if not np.isfinite(rows).all():
            raise ValueError(f"the state's {name!r} holds what is no number")
        return rows
