"""Something changed: whoever waits looks again.

Not `asyncio.wait_for`: in Python 3.11 it swallows a cancellation that comes in the same turn as what it waits
for, so that a loop that was cancelled goes on (found by the simulation: a node killed during a heartbeat).
"""

from __future__ import annotations

import asyncio


class ChangeSignal:
    """Wakes all that wait. There is no queue, so nothing can be lost."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[None], None] = {}

    def notify(self) -> None:
        """Wake all that wait now."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            _wake(waiter)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Return at the next `notify`, after `timeout_s` at the latest."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters[waiter] = None
        timer = loop.call_later(timeout_s, _wake, waiter) if timeout_s is not None else None
        try:
            await waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._waiters.pop(waiter, None)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
