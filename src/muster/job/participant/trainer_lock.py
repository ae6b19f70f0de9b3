"""Whose turn it is to use the trainer: one request at a time, and spare work gives way to every other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")


class TrainerLock:
    """A lock whose holder may be doing spare work, which ends when somebody else wants it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._spare: asyncio.Future[Any] | None = None

    @property
    def free(self) -> bool:
        return not self._lock.locked()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Wait for the turn; spare work under way is cancelled and not waited for longer than that takes."""
        if self._spare is not None:
            self._spare.cancel()
        async with self._lock:
            yield

    async def background(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do `work` when it is nobody's turn; None when it was cancelled for somebody else's."""
        async with self._lock:
            doing: asyncio.Future[T] = asyncio.ensure_future(work())
            self._spare = doing
            try:
                await asyncio.wait({doing})
            finally:
                self._spare = None
                if not doing.done():  # the caller itself is cancelled: its work has to end before the turn
                    doing.cancel()
                    await asyncio.wait({doing})
            return None if doing.cancelled() else doing.result()
