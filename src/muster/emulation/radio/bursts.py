"""Loss in bursts, by a Gilbert-Elliott chain.

Gilbert, "Capacity of a burst-noise channel", 1960; Elliott, "Estimates of error rates", 1963.

The chain makes one step for each frame and one for each 10 ms in which the air is silent, whichever comes
first: frames see exactly the classical chain as long as no pause between two of them lasts 10 ms, and a link
on which nothing is sent leaves its bad spell all the same, as a fading radio does.  While a frame is on the
air (long at low rates) no slot passes.

The number of steps that a state lasts is drawn when it begins (it is geometric), so that silence of any
length costs a few operations for each change of state, and looking at the chain does not move its draws.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

import msgspec

SLOT_S = 0.01
SPELLS_MAX = 512  # bad spells remembered for each direction, the newest


class Burst(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Chances per step to change state, and the loss while in the bad one (0..1).

    A bad spell lasts 1 / p_bad_to_good steps on average, and the share of steps in the bad state is
    p_good_to_bad / (p_good_to_bad + p_bad_to_good).
    """

    p_good_to_bad: float  # 0..1, a step
    p_bad_to_good: float  # 0..1, a step; a bad spell lasts 1 / p_bad_to_good steps on average
    loss_bad: float = 1.0  # 0..1, of frames in the bad state


class BadSpells(msgspec.Struct, frozen=True):
    """What a direction's chain went through; times are those of the monotonic clock."""

    bad: bool = False  # now
    bad_s: float = 0.0  # in the bad state, of `passed_s` since there are bursts on this direction
    passed_s: float = 0.0
    spells: tuple[tuple[float, float | None], ...] = ()  # (began, ended or None), at most `SPELLS_MAX`

    @property
    def share(self) -> float:
        """Fraction of the time in the bad state."""
        return self.bad_s / self.passed_s if self.passed_s else 0.0


class Chain:
    """The state of one direction."""

    __slots__ = (
        "_at_s",
        "_began_s",
        "_burst",
        "_ended_s",
        "_left",
        "_passed_s",
        "_rng",
        "_spells",
        "_started_s",
    )

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._burst: Burst | None = None
        self._at_s = 0.0  # the end of the last step
        self._left = math.inf  # steps until the state changes
        self._began_s: float | None = None  # of the present bad spell
        self._spells: deque[tuple[float, float]] = deque(maxlen=SPELLS_MAX)
        self._ended_s = 0.0  # in spells that have ended
        self._started_s = self._passed_s = 0.0

    def follow(self, now_s: float, burst: Burst | None) -> None:
        """From now on these chances; the state stays (it has no memory), without bursts it is good."""
        if burst == self._burst:
            return
        self.advance(now_s)
        if self._burst is None:
            self._started_s = self._at_s = now_s
        elif burst is None:
            self._passed_s += now_s - self._started_s
            if self._began_s is not None:
                self._flip(max(now_s, self._began_s))
        self._burst = burst
        self._left = self._lasts()

    def frame(self, start_s: float, end_s: float) -> bool:
        """A frame is on the air from `start_s` to `end_s`; whether it meets the bad state."""
        if self._burst is None:
            return False
        self.advance(start_s)
        self._left -= 1
        if self._left <= 0:
            self._flip(start_s)
        self._at_s = end_s
        return self._began_s is not None

    def advance(self, now_s: float) -> None:
        """The steps of the silence up to now."""
        if self._burst is None:
            return
        slots = int((now_s - self._at_s) / SLOT_S + 1e-6)
        while slots > 0 and self._left <= slots:
            slots -= int(self._left)
            self._at_s += self._left * SLOT_S
            self._flip(self._at_s)
        if slots > 0:
            self._left -= slots
            self._at_s += slots * SLOT_S

    def cut(self, now_s: float) -> None:
        """What was given air time after now is not sent."""
        self._at_s = min(self._at_s, now_s)

    def read(self, now_s: float, since_s: float = -math.inf) -> BadSpells:
        """As of now; of the spells those that ended after `since_s`, and the present one."""
        self.advance(now_s)
        bad_s, passed_s = self._ended_s, self._passed_s
        spells: list[tuple[float, float | None]] = [spell for spell in self._spells if spell[1] > since_s]
        if self._began_s is not None:
            bad_s += max(0.0, now_s - self._began_s)
            spells.append((self._began_s, None))
        if self._burst is not None:
            passed_s += now_s - self._started_s
        return BadSpells(self._began_s is not None, bad_s, passed_s, tuple(spells))

    def _flip(self, at_s: float) -> None:
        if self._began_s is None:
            self._began_s = at_s
        else:
            self._spells.append((self._began_s, at_s))
            self._ended_s += at_s - self._began_s
            self._began_s = None
        self._left = self._lasts()

    def _lasts(self) -> float:
        """Draw how many steps this state lasts."""
        if self._burst is None:
            return math.inf
        chance = self._burst.p_good_to_bad if self._began_s is None else self._burst.p_bad_to_good
        if chance <= 0:
            return math.inf
        if chance >= 1:
            return 1
        return 1 + int(math.log(1 - self._rng.random()) / math.log1p(-chance))
