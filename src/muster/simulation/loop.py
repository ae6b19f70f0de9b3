"""An asyncio event loop in virtual time: when nothing is ready it jumps to the next timer.

Deterministic as far as the code in it is: no sockets, no threads (`run_in_executor` runs at once, in
place), time starts at 0 and advances only by jumps.  What is left to the code: no order taken from a set
(`asyncio.wait` gives sets), no clock but the loop's, no randomness but what is passed in.
The idea is python-trio's autojump clock; the mechanics are `BaseEventLoop`'s own.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from asyncio import base_events
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Deadlock(Exception):
    """Nothing is scheduled, so what is waited for can never happen."""


class OutOfTime(Exception):
    """The time given to `run` is over."""


class _Jump:
    """Stands where a selector stands in other loops: "waiting" moves the clock to the next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout_s: float | None) -> list[Any]:
        loop = self._loop
        if timeout_s is None:
            raise Deadlock(f"nothing is scheduled after {loop.now_s:.3f} s")
        if timeout_s > 0:
            when_s = loop._scheduled[0]._when
            if when_s > loop.until_s:
                loop.now_s = loop.until_s
                raise OutOfTime(f"not done after {loop.until_s:.3f} s of virtual time")
            loop.now_s = max(loop.now_s, when_s)
        return []


class VirtualLoop(base_events.BaseEventLoop):
    """Use `run`. `faults` collects what tasks and callbacks raised and nobody looked at."""

    _scheduled: list[Any]  # BaseEventLoop's heap of timers

    def __init__(self, until_s: float = math.inf) -> None:
        super().__init__()
        self.now_s = 0.0
        self.until_s = until_s
        self.faults: list[BaseException] = []
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9
        self.set_exception_handler(self._keep_fault)

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def _process_events(self, event_list: list[Any]) -> None:
        assert not event_list

    @staticmethod
    def _keep_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        assert isinstance(loop, VirtualLoop)
        loop.faults.append(context.get("exception") or RuntimeError(context["message"]))


def run(main: Coroutine[Any, Any, T], until_s: float = math.inf) -> T:
    """Run `main` in a fresh virtual loop and end every task that it left behind.

    Raises what `main` raises, OutOfTime after `until_s` of virtual time, Deadlock when nothing can happen
    any more, and the first exception that a task or callback raised without anybody looking at it.

    >>> async def hour() -> float:
    ...     await asyncio.sleep(3600)
    ...     return asyncio.get_running_loop().time()
    >>> run(hour())
    3600.0
    """
    loop = VirtualLoop(until_s)
    try:
        result = loop.run_until_complete(main)
    finally:
        _end(loop)
    if loop.faults:
        raise loop.faults[0]
    return result


def _end(loop: VirtualLoop) -> None:
    loop.until_s = math.inf
    left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in left:
        task.cancel()
    try:
        if left:
            results = loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.faults += [
                result
                for result in results
                if isinstance(result, Exception) and not isinstance(result, asyncio.CancelledError)
            ]
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
