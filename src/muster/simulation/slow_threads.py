"""Heavy work beside a simulated node's event loop: it takes a while, and the world goes on meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SLOW_SHARE = 0.3  # of all calls; the others are done at once
SLOW_S = 3.0  # at most, before the call and after it; most are much quicker


class SlowThreads:
    """Implements `storage.offload.Offload` in virtual time, by draws from `rng`."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def __call__(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        slow = self._rng.random() < SLOW_SHARE
        if slow:
            await asyncio.sleep(SLOW_S * self._rng.random() ** 4)
        result = call(*arguments)
        if slow:
            await asyncio.sleep(SLOW_S * self._rng.random() ** 4)
        return result
