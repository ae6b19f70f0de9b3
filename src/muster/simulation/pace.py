"""How long simulated training takes, and that it can die half-way."""

from __future__ import annotations

import random

from muster.network.pulse import Pulse

SLICES = 4  # progress reports of one piece of work
SPEED_TEST_S = 0.5


class Pace:
    """Virtual time of one trainer child; `crash` ends its work (or the next) in ChildProcessError."""

    def __init__(self, step_s: float, rng: random.Random) -> None:
        self._step_s, self._rng = step_s, rng
        self._doomed = False
        self._doom = Pulse()

    def crash(self) -> None:
        self._doomed = True
        self._doom.beat()

    async def measure(self) -> float:
        """Seconds of one step, within 10 %."""
        await self.work(SPEED_TEST_S)
        return self._step_s * (0.9 + 0.2 * self._rng.random())

    async def slice(self, steps: int) -> None:
        """One of the `SLICES` parts of a piece of work."""
        await self.work(steps * self._step_s / SLICES)

    async def work(self, work_s: float) -> None:
        if not self._doomed:
            await self._doom.wait(work_s)
        if self._doomed:
            raise ChildProcessError("the trainer was killed")
