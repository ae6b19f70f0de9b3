"""Between asyncio and a library with threads: sender threads, calls with a time limit, calls into the loop.

Threads here are daemons: a call that never returns must neither hold up the loop nor the end of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

QUEUE_ITEMS_MAX = 256
INBOX_MAX = 1024  # items that wait to be called on the loop
_IDLE_S = 20.0


class SenderThread:
    """Runs blocking sends for one neighbour in order, in a thread that exists only while there is work.

    One for each neighbour and urgency: a slow neighbour fills its own queue and holds up nobody else.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._items: queue.Queue[Callable[[], None]] = queue.Queue(QUEUE_ITEMS_MAX)
        self._running = False
        self._closed = False

    def put(self, send: Callable[[], None]) -> bool:
        """Queue a send; False when the queue is full or closed. `send` must not raise."""
        with self._lock:
            if self._closed:
                return False
            try:
                self._items.put_nowait(send)
            except queue.Full:
                return False
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name=self._name, daemon=True).start()
            return True

    def close(self) -> None:
        """Forget what waits; a send that has begun ends by itself."""
        with self._lock:
            self._closed = True

    def _run(self) -> None:
        while True:
            try:
                send = self._items.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._items.empty():
                        self._running = False
                        return
                continue
            if self._closed:
                self._running = False
                return
            try:
                send()
            except Exception:  # or all later ones would wait for ever
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            del send  # it may hold a query, which must end when it is answered


class Inbox:
    """From the library's threads into the loop, through one counter that bounds what waits there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0

    def post(
        self,
        loop: asyncio.AbstractEventLoop,
        function: Callable[[Any], None],
        item: Any,
        full: Callable[[Any], None] | None,
    ) -> None:
        """Call `function(item)` on the loop; `full(item)` here instead when too much waits there.

        Without `full` the item always gets in: the caller bounds such items otherwise.
        """
        with self._lock:
            room = full is None or self._waiting < INBOX_MAX
            self._waiting += room
        if not room:
            assert full is not None
            full(item)
            return

        def arrive() -> None:
            with self._lock:
                self._waiting -= 1
            function(item)

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(arrive)


async def call_limited(
    function: Callable[[], T], limit_s: float, late: Callable[[T], None] | None = None
) -> T:
    """Call a function that may block, in a thread; raises TimeoutError after `limit_s`.

    A result that comes after that is given to `late` (in the thread), so that nothing is left open.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            if error is None and late is not None:
                threading.Thread(target=late, args=(result,), daemon=True).start()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as caught:
            error = caught
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if error is None and late is not None:
                late(result)  # type: ignore[arg-type]

    threading.Thread(target=work, name="muster-call", daemon=True).start()
    async with asyncio.timeout(limit_s):
        return await future
