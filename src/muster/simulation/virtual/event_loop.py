"""An asyncio event loop in virtual time: when nothing is ready it jumps to the next timer.

Deterministic as far as the code in it is: no sockets, no threads (`run_in_executor` runs at once, in
place), time starts at 0 and advances only by jumps.  What is left to the code: no order taken from a set
(`asyncio.wait` gives sets), no clock but the loop's, no randomness but what is passed in.
The idea is python-trio's autojump clock; the mechanics are `BaseEventLoop`'s own.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import math
from asyncio import base_events
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


RESOLUTION_S = 1e-9  # timers so close are one instant
TURNS_MAX = 200_000  # of the loop in one instant


class Deadlock(Exception):
    """Nothing is scheduled, so what is waited for can never happen."""


class OutOfTime(Exception):
    """The time given to `run` is over."""


class _NoSelector:
    """A selector for `BaseEventLoop`, which wants one; there are no sockets."""

    def select(self, timeout_s: float | None) -> list[Any]:
        return []


class Standstill(Exception):
    """The loop made `TURNS_MAX` turns without time passing."""


class VirtualLoop(base_events.BaseEventLoop):
    """Use `run`. `faults` collects what tasks and callbacks raised and nobody looked at.

    A turn is `BaseEventLoop`'s, without what a virtual loop has no use for; timers due at the same instant
    run in the order in which they were set.
    """

    _ready: deque[asyncio.Handle]  # these two are the base class's
    _stopping: bool

    def __init__(self, until_s: float = math.inf) -> None:
        super().__init__()
        self.now_s = 0.0
        self.until_s = until_s
        self.faults: list[BaseException] = []
        self._selector = _NoSelector()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timers_set = 0
        self._timers_cancelled = 0
        self._turns = 0  # in this instant
        self._holding = False  # whether `_holds` is asked before a callback runs
        self.set_exception_handler(self._keep_fault)

    def time(self) -> float:
        return self.now_s

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (when, self._timers_set, timer))
        return timer

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self._timers_cancelled += 1
        if self._timers_cancelled > 1000 and self._timers_cancelled > len(self._timers) // 2:
            self._timers = [timer for timer in self._timers if not timer[2]._cancelled]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0

    def _run_once(self) -> None:
        ready = self._ready
        if not ready and not self._stopping:
            self._jump()
            self._turns = 0
        self._turns += 1
        if self._turns > TURNS_MAX:
            self._turns = 0
            raise Standstill(f"turns in place at {self.now_s:.3f} s")
        now_s = self.now_s + RESOLUTION_S
        while self._timers and self._timers[0][0] <= now_s:
            timer = heapq.heappop(self._timers)[2]
            if not timer._cancelled:
                ready.append(timer)
        for _ in range(len(ready)):
            handle: Any = ready.popleft()
            if handle._cancelled or (self._holding and self._holds(handle)):
                continue
            try:
                handle._context.run(handle._callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                self.faults.append(error)

    def _jump(self) -> None:
        """Nothing is ready: move the clock to the next timer."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock(f"nothing is scheduled after {self.now_s:.3f} s")
        when_s = self._timers[0][0]
        if when_s > self.until_s:
            self.now_s = self.until_s
            raise OutOfTime(f"not done after {self.until_s:.3f} s of virtual time")
        self.now_s = max(self.now_s, when_s)

    def _holds(self, handle: Any) -> bool:
        """Whether a callback is not to run now (`lives`)."""
        return False

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
