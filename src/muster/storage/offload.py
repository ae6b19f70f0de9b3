"""Runs what takes long beside the event loop: hashing, syncing, encoding, adding up.

The daemon has a few threads for it; numpy, hashlib and the disk let the loop go on meanwhile.  What is called
may read blobs and stage new ones, and touches nothing else of the node: records, state and what jobs know
belong to the loop.  After the wait the world may be another one, so whoever waits looks again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

THREADS = 3  # so that one long sum does not keep small blobs waiting


class Offload(Protocol):
    """`await offload(call, *arguments)` gives what the call gives, or raises what it raises."""

    def __call__(self, call: Callable[[*Ts], T], *arguments: *Ts) -> Awaitable[T]: ...


# What work on a model of so many bytes goes to: a function of a module and arguments that can be pickled.
Compute: TypeAlias = Callable[[int], Offload]

# Runs a small piece of work on the disk, such as a sync, soon and one after another. It must not raise.
Later: TypeAlias = Callable[[Callable[[], object]], None]


def at_once(chore: Callable[[], object]) -> None:
    """Implements `Later` in place."""
    chore()


async def inline(call: Callable[[*Ts], T], *arguments: *Ts) -> T:
    """Calls at once, in place: for tests and small tools."""
    return call(*arguments)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """`await work`, and when that is cancelled, let the work come to its end first."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: nobody waits for it any more
        raise


def start_threads(pool: ThreadPoolExecutor, count: int) -> None:
    """Start all threads of a pool now: starting one waits until it runs, long on a busy machine."""
    everybody = threading.Barrier(count)
    for _ in range(count):
        pool.submit(everybody.wait)


class Threads:
    """Implements `Offload` with threads. A call that was begun goes on when nobody waits for it any more."""

    def __init__(self, count: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="heavy")
        self._chores = ThreadPoolExecutor(1, thread_name_prefix="disk")
        for pool, size in ((self._pool, count), (self._chores, 1)):
            start_threads(pool, size)

    def __call__(self, call: Callable[[*Ts], T], *arguments: *Ts) -> Awaitable[T]:
        return asyncio.get_running_loop().run_in_executor(self._pool, call, *arguments)

    def later(self, chore: Callable[[], object]) -> None:
        """Implements `Later`."""
        with contextlib.suppress(RuntimeError):  # the node ends
            self._chores.submit(chore)

    def close(self) -> None:
        """Wait for the calls that were begun."""
        self._pool.shutdown(cancel_futures=True)
        self._chores.shutdown()
