"""Notices that a classifier's surroundings changed: its answers become more, or less, certain than they were.

Watched is the entropy of each answer (nats), in blocks.py; an alarm is a mean of the last 100 that is more
than 6 spreads off, or of the last 400 that is more than 4.5.  It says that labels are worth asking for, not
that accuracy fell: labels decide that (fall.py).  What it does not see: classes that become more frequent,
each as sure as before, and labels that changed their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from muster.adaptation.blocks import BLOCK, Blocks

THRESHOLD = 6.0
LEAST_SPREAD = 0.002  # nats: a model that is always sure has no spread at all
NO_ANSWER = 10.0  # nats, that an entropy which is no number counts as: more than one of any sound answer


@dataclass(frozen=True)
class Alarm:
    """`z`: how many spreads the last 100 are off (or 4/3 of those of the last 400), negative below; `what`:
    what is, for people."""

    z: float
    what: str


class Noticing:
    """The watch over one model in use: O(1) an answer, and a few kB whatever the number of answers."""

    def __init__(self) -> None:
        self._blocks = Blocks(1, LEAST_SPREAD)
        self._sum, self._count = 0.0, 0

    def see(self, entropy: float) -> Alarm | None:
        """Take the entropy of one more answer; an alarm, after which a new reference begins."""
        self._sum += entropy if 0.0 <= entropy < NO_ANSWER else _sound(entropy)
        self._count += 1
        if self._count < BLOCK:
            return None
        mean = self._sum / BLOCK
        self._sum, self._count = 0.0, 0
        found = self._blocks.add(np.array([mean]))
        z = 0.0 if found is None else float(found[0])
        if abs(z) <= THRESHOLD:
            return None
        self.reset()
        return Alarm(z, "the answers are less certain" if z > 0 else "the answers are more certain")

    def see_all(self, entropies: Iterable[float]) -> list[Alarm]:
        """The alarms of several answers in order."""
        return [alarm for entropy in entropies if (alarm := self.see(float(entropy))) is not None]

    def reset(self) -> None:
        """Begin a new reference, as at a swap: another model is certain of other things."""
        self._blocks.reset()
        self._sum, self._count = 0.0, 0

    @property
    def ready(self) -> bool:
        """Whether the reference of 1,000 answers is complete."""
        return self._blocks.ready

    def state(self) -> dict[str, Any]:
        """Plain values (JSON) from which `take_up` goes on after a restart."""
        return {"sum": self._sum, "count": self._count, **self._blocks.state()}

    def take_up(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ValueError for anything else; nothing is changed then."""
        total, count = state.get("sum"), state.get("count")
        if type(count) is not int or not 0 <= count < BLOCK:
            raise ValueError("the state has no sound count")
        if not isinstance(total, int | float) or not 0.0 <= total <= count * NO_ANSWER:
            raise ValueError("the state has no sound sum")
        self._blocks.take_up(state)
        self._sum, self._count = float(total), count


def _sound(entropy: float) -> float:
    """An entropy outside its range as one inside; rounding makes small negative ones."""
    return 0.0 if -1e-3 < entropy < 0.0 else NO_ANSWER
