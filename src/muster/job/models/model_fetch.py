"""A commit's parameters on their way to this node: by deltas, as a snapshot, or both (design section 5.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from muster.job.models.delta_path import Segment
from muster.network.blobs.state import Progress

QUIET_S = 15.0  # deltas that brought nothing for so long may be gone everywhere, or not be what was said


class WrongModel(Exception):
    """The rebuilt parameters do not hash to what the commit says, or cannot be rebuilt."""


class ModelFetch:
    """Gets a commit's parameters by deltas while there is a path of them, else as a snapshot.

    While the deltas bring nothing the snapshot is fetched beside them, behind them.  A snapshot that is on
    its way ends when a way by deltas comes up that takes less than what is left of it.
    """

    def __init__(
        self,
        find: Callable[[], list[Segment] | None],
        deltas: Callable[[list[Segment], Progress], Coroutine[Any, Any, None]],
        whole: Callable[[Progress, int], Coroutine[Any, Any, None]],
        unfit: Callable[[Exception], None],
        progress: Progress | None,
    ) -> None:
        """`whole(progress, rank)`; `unfit(error)` is called when the deltas turn out wrong."""
        self._find, self._by_deltas, self._by_whole = find, deltas, whole
        self._unfit, self._progress = unfit, progress
        self._deltas: asyncio.Task[None] | None = None
        self._whole: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._fits = True
        self._grew_s = 0.0  # when the deltas last brought anything,
        self._quiet = False  # and whether that is too long ago
        self._news = asyncio.Event()

    def look(self) -> None:
        """Something is held that was not: there may be a way now."""
        self._news.set()

    async def run(self) -> None:
        """Until the parameters are here. Raises what either way raises, but for deltas that do not fit."""
        try:
            while not self._over():
                self._begin()
                counting = self._deltas is not None and not self._quiet
                try:
                    async with asyncio.timeout_at(self._grew_s + QUIET_S if counting else None):
                        await self._news.wait()
                except TimeoutError:
                    self._quiet = True
                self._news.clear()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self) -> None:
        """What should be under way now."""
        if self._deltas is None and self._fits:
            path = self._find()
            if path is not None:
                self._grew_s, self._quiet = asyncio.get_running_loop().time(), False
                self._deltas = self._task(self._by_deltas(path, self._grew))
        if self._deltas is not None and not self._quiet:
            self._end_whole()
        elif self._whole is None:
            rank = 0 if self._deltas is None else 1
            self._whole = self._task(self._by_whole(self._progressed, rank))

    def _over(self) -> bool:
        if self._whole is not None and self._whole.done():
            self._whole.result()
            return True
        if self._deltas is not None and self._deltas.done():
            try:
                self._deltas.result()
                return True
            except (WrongModel, ValueError) as error:  # CodecError; a size that another record contradicts
                self._unfit(error)
                self._fits, self._deltas = False, None
                self._end_whole()  # it was to stay behind the deltas; what came of it is kept
        return False

    def _end_whole(self) -> None:
        if self._whole is not None:
            self._whole.cancel()
            self._whole = None

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._news.set())
        self._tasks.append(task)
        return task

    def _grew(self, held_bytes: int, all_bytes: int) -> None:
        if held_bytes:
            self._grew_s, self._quiet = asyncio.get_running_loop().time(), False
            self._news.set()
        self._progressed(held_bytes, all_bytes)

    def _progressed(self, held_bytes: int, all_bytes: int) -> None:
        if self._progress is not None:
            self._progress(held_bytes, all_bytes)
