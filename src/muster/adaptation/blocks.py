"""Whether the mean of the last 100 values differs from that of the 1,000 before them, for several series at
once.

Values come in blocks of 25.  The first 40 blocks are the reference; from then on the mean of the last four
is compared to theirs with each new one.  Neighbouring samples are alike (a camera sees one thing for a
while), so that the spread is not that of single values: it is taken from the means of 100 neighbours in the
reference, and is never less than independent values would have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 25
REFERENCE_BLOCKS = 40
RECENT_BLOCKS = 4
ROUNDING = 1e-9
LARGEST = 1e6  # spreads

Vector = NDArray[np.float64]


class Blocks:
    """The means of the blocks so far: of the reference, and the last four behind it."""

    def __init__(self, width: int, least_spread: float = 0.0) -> None:
        """`width`: how many series; `least_spread`: what no spread is below, in their unit."""
        self.width, self.least_spread = width, least_spread
        self.reset()

    def reset(self) -> None:
        """Begin a new reference."""
        self._reference = np.empty((0, self.width))
        self._recent = np.empty((0, self.width))
        self._mean = self._spread = np.empty(0)

    @property
    def ready(self) -> bool:
        """Whether the reference is complete."""
        return len(self._reference) == REFERENCE_BLOCKS

    def add(self, mean: Vector) -> Vector | None:
        """Take the means of one more block: (width,) values. How many spreads the last 100 values are
        off, for each series; None: not enough are known."""
        row = np.asarray(mean, float).reshape(1, self.width)
        if not self.ready:
            self._reference = np.concatenate([self._reference, row])
            if self.ready:
                self._mean, self._spread = self._reference.mean(0), self._spread_of_reference()
            return None
        self._recent = np.concatenate([self._recent, row])[-RECENT_BLOCKS:]
        if len(self._recent) < RECENT_BLOCKS:
            return None
        off: Vector = (self._recent.mean(0) - self._mean) / self._spread
        return np.clip(off, -LARGEST, LARGEST)

    def _spread_of_reference(self) -> Vector:
        """The deviation to expect between a mean of 100 values and the mean of the reference."""
        rows = self._reference
        starts = range(REFERENCE_BLOCKS - RECENT_BLOCKS + 1)
        of_neighbours = np.stack([rows[at : at + RECENT_BLOCKS].mean(0) for at in starts]).std(0, ddof=1)
        of_independent = rows.std(0, ddof=1) / math.sqrt(RECENT_BLOCKS)
        both = np.maximum(of_neighbours, of_independent)
        expected = both * math.sqrt(1 + RECENT_BLOCKS / REFERENCE_BLOCKS)
        rounding = ROUNDING * (np.abs(rows.mean(0)) + 1.0)  # of a series that never changed
        spread: Vector = np.maximum(expected, np.maximum(rounding, self.least_spread))
        return spread

    def state(self) -> dict[str, Any]:
        """Plain values from which `take_up` goes on."""
        return {"reference": self._reference.tolist(), "recent": self._recent.tolist()}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ValueError for what it did not give, and changes nothing."""
        reference, recent = (self._rows(state, name) for name in ("reference", "recent"))
        if len(reference) > REFERENCE_BLOCKS or len(recent) > RECENT_BLOCKS:
            raise ValueError("there are more blocks than a state has")
        if len(recent) and len(reference) < REFERENCE_BLOCKS:
            raise ValueError("there are blocks behind a reference that is not complete")
        self._reference, self._recent = reference, recent
        if self.ready:
            self._mean, self._spread = reference.mean(0), self._spread_of_reference()

    def _rows(self, state: Mapping[str, Any], name: str) -> NDArray[np.float64]:
        try:
            rows = np.asarray(state[name], float).reshape(-1, self.width)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"the state has no sound {name!r}") from error
        if not np.isfinite(rows).all():
            raise ValueError(f"the state's {name!r} holds what is no number")
        return rows
