"""The model in use, kept in step with the pointer; one that fails leaves the last good one in its place."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from muster.errors import MusterError
from muster.serving.models import Loaded, give_memory_back, load
from muster.serving.paths import pointer_of
from muster.serving.pointer import Model, Served, read

LOOK_S = 0.5
AGAIN_S = 30.0  # after a fault, also when the pointer stays as it is
TRIM_AFTER_S = 1.0  # requests that began with the old model have ended


class InUse:
    """`loaded` is what requests are answered with; it is replaced in one step, never changed."""

    def __init__(
        self, folder: Path, threads: int, say: Callable[[str], None], swapped: Callable[[Loaded], None]
    ) -> None:
        """`swapped` hears of each model that goes into use, before a request meets it."""
        self._folder, self._threads, self._say, self._swapped = folder, threads, say, swapped
        self.loaded: Loaded | None = None
        self.served: Served | None = None  # what the pointer said when `loaded` went into use
        self.fault = ""  # why the model that the pointer names is not in use
        self._seen: tuple[int, int, int] | None = None
        self._again_s = 0.0

    async def follow(self) -> None:
        """Look twice a second, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Load what the pointer names, if that is news."""
        seen = _state_of(pointer_of(self._folder))
        now_s = time.monotonic()
        if seen == self._seen and not (self.fault and now_s >= self._again_s):
            return
        self._seen, self._again_s = seen, now_s + AGAIN_S
        try:
            served = await asyncio.to_thread(read, self._folder)
            if served is None:
                self._failed("" if self.loaded is None else f"{pointer_of(self._folder)} is gone")
                return
            await self._adopt(served, served.current)
        except MusterError as error:
            self._failed(error.sentence)
            await self._begin_with_former()

    async def _adopt(self, served: Served, model: Model) -> None:
        self.served, self.fault = served, ""
        if self.loaded is not None and self.loaded.version == model.version:
            return
        loaded = await asyncio.to_thread(load, self._folder, model, self._threads)
        self._swapped(loaded)
        self.loaded = loaded
        self._say(
            f"{loaded.version} is in use: {served.reason}"
            if model == served.current
            else f"{loaded.version}, the former model, answers meanwhile"
        )
        asyncio.get_running_loop().call_later(TRIM_AFTER_S, give_memory_back)

    async def _begin_with_former(self) -> None:
        """At the start there is no last good model in memory: the former one is the next best."""
        if self.loaded is not None:
            return
        fault = self.fault
        try:
            served = await asyncio.to_thread(read, self._folder)
            if served is not None and served.former is not None:
                await self._adopt(served, served.former)
        except MusterError:
            return
        finally:
            self.fault = fault

    def _failed(self, sentence: str) -> None:
        if sentence and sentence != self.fault:
            kept = "" if self.loaded is None else f"; {self.loaded.version} goes on answering"
            self._say(f"{sentence}{kept}")
        self.fault = sentence


def _state_of(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is replaced."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
