"""How long simulated training takes; it can die in the midst of work."""

from __future__ import annotations

import random

from muster.network.change_signal import ChangeSignal

SLICES = 4  # progress reports of one piece of work
SPEED_TEST_S = 0.5
MISTAKEN, MISTAKEN_SHARE = 2.5, 0.1


class Pace:
    """Virtual time of one trainer child; `crash` ends its work (or the next) in ChildProcessError."""

    def __init__(self, step_s: float, rng: random.Random) -> None:
        self.step_s, self._rng = step_s, rng
        self.share = 1.0  # of the time that it computes
        self._doomed = False
        self._doom = ChangeSignal()

    def crash(self) -> None:
        self._doomed = True
        self._doom.notify()

    async def measure(self) -> float:
        """Seconds of one step, within 10 %; or far off: the machine was busy."""
        await self.work(SPEED_TEST_S)
        chance = self._rng.random()
        return self.step_s / self.share * (MISTAKEN if chance < MISTAKEN_SHARE else 0.9 + 0.2 * chance)

    async def slice(self, steps: int) -> None:
        """One of the `SLICES` parts of a piece of work."""
        await self.work(steps * self.step_s / self.share / SLICES)

    async def work(self, work_s: float) -> None:
        if not self._doomed:
            await self._doom.wait(work_s)
        if self._doomed:
            raise ChildProcessError("the trainer was killed")
