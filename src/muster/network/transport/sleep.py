"""Notices that this machine slept: a laptop with its lid closed, a computer that saves its battery.

Nothing here goes on meanwhile, the loop's clock neither (CLOCK_MONOTONIC stands still): no deadline passes,
and nobody is taken for silent.  But the others have closed their ends of the links, which looks here as if
nothing had happened until a lease is over: so links that do not answer are made again at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from muster.network.supervisor import Pulse

LOOK_S = 2.0
SLEPT_S = 5.0
RENEW_S = 60.0  # that making links again may take

Clock = Callable[[], float]


def _boot_s() -> float:
    """Since the machine's start, time asleep included; elsewhere than on Linux as if it never slept."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(time.CLOCK_MONOTONIC if boot is None else boot)


async def watch_sleep(
    woke: Callable[[float], Awaitable[None]],
    pulse: Pulse,
    *,
    boot_s: Clock = _boot_s,
    awake_s: Clock = time.monotonic,
) -> None:
    """Call `woke(seconds)` after each sleep of at least `SLEPT_S`; for ever, cancel to stop."""
    lag_s = boot_s() - awake_s()
    while True:
        pulse.renew(LOOK_S + RENEW_S)
        await asyncio.sleep(LOOK_S)
        before_s, lag_s = lag_s, boot_s() - awake_s()
        if lag_s - before_s >= SLEPT_S:
            await woke(lag_s - before_s)


def duration(seconds: float) -> str:
    """For people.

    >>> duration(75), duration(8 * 3600 + 120)
    ('1 min', '8 h 2 min')
    """
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
