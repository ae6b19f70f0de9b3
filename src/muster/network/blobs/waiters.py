"""The tasks that wait for one transfer: its fetchers, and requests of neighbours that are held open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]  # bytes held, bytes in all


class Waiters:
    """Needs a running loop."""

    def __init__(self) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.progress: list[Progress] = []
        self._held_open: dict[asyncio.Future[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def call_at(self, at_s: float, call: Callable[[], None]) -> None:
        """Look at the transfer again at `at_s`, and not when that was asked for before."""
        self.cancel_timer()
        self._timer = asyncio.get_running_loop().call_at(at_s, call)

    def cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def more(self, until_s: float) -> None:
        """Return when more bytes came, when the transfer ended, or at `until_s`."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._held_open[future] = None
        timer = loop.call_at(until_s, _let_go, future)
        try:
            await future
        finally:
            timer.cancel()
            self._held_open.pop(future, None)

    def wake(self) -> None:
        """More bytes came."""
        waiting, self._held_open = self._held_open, {}
        for future in waiting:
            _let_go(future)

    def end(self, error: Exception | None) -> None:
        """The transfer is over; `error` is raised where its fetchers wait."""
        self.cancel_timer()
        if error is not None:
            self.done.set_exception(error)
            self.done.exception()  # seen, even if its fetchers are being cancelled
        else:
            self.done.set_result(None)
        self.wake()


class WaiterTable(Generic[T]):
    """The waiters of all transfers; they are made when they are first asked for."""

    def __init__(self) -> None:
        self._waiters: dict[T, Waiters] = {}

    def of(self, transfer: T) -> Waiters:
        if transfer not in self._waiters:
            self._waiters[transfer] = Waiters()
        return self._waiters[transfer]

    def pop(self, transfer: T) -> Waiters | None:
        return self._waiters.pop(transfer, None)

    def wake_all(self) -> None:
        """The node ends."""
        for waiters in self._waiters.values():
            waiters.cancel_timer()
            waiters.wake()


def _let_go(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
