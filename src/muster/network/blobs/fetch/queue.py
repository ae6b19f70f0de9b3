"""Fetches that wait until fewer transfers are running, lowest rank first."""

from __future__ import annotations

import asyncio


class FetchQueue:
    """Lets waiting fetches go one at a time."""

    def __init__(self) -> None:
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []

    def __bool__(self) -> bool:
        """Whether anybody waits."""
        return bool(self._queue)

    async def wait(self, rank: int, number: int) -> None:
        """Until it is this one's turn; of equal ranks the lower number goes first."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (rank, number, future)
        self._queue.append(entry)
        try:
            await future
        finally:
            if entry in self._queue:
                self._queue.remove(entry)

    def next(self) -> None:
        """The lowest rank may go."""
        entry = min(self._queue, key=lambda entry: entry[:2])
        self._queue.remove(entry)
        if not entry[2].done():
            entry[2].set_result(None)
