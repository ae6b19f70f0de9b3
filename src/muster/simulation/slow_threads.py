"""Heavy work beside a simulated node's event loop: it takes a while, and the world goes on meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SLOW_SHARE = 0.3  # of all calls; the others are done at once


class SlowThreads:
    """Implements `storage.offload.Offload` in virtual time, by draws from `rng`.

    A slow call takes at most `most_s` before it is made and as much after it; most are much quicker.
    """

    def __init__(self, rng: random.Random, most_s: float) -> None:
        self._rng, self._most_s = rng, most_s

    async def __call__(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        slow = self._most_s > 0 and self._rng.random() < SLOW_SHARE
        if slow:
            await asyncio.sleep(self._most_s * self._rng.random() ** 4)
        result = call(*arguments)
        if slow:
            await asyncio.sleep(self._most_s * self._rng.random() ** 4)
        return result
