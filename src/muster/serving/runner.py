"""Where a model runs: a small one in the event loop, as a thread would cost more than the run.

A larger one runs in one thread, with a queue that is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from muster.serving.models import Loaded

IN_LOOP_S = 0.002  # a run that takes longer holds up other requests
QUEUE_MAX = 64  # runs that wait for the thread, or are in it


class Busy(Exception):
    """The queue is full; the attribute says after how many seconds it is worth trying again."""

    def __init__(self, retry_s: int) -> None:
        super().__init__("too many requests wait")
        self.retry_s = retry_s


class Runner:
    """Runs models one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "runs")
        self.waiting = 0

    @staticmethod
    def fits_in_loop(loaded: Loaded, samples: int) -> bool:
        return loaded.run_s is not None and loaded.run_s * samples <= IN_LOOP_S

    async def run(
        self, loaded: Loaded, names: Sequence[str], feeds: Mapping[str, NDArray[Any]], samples: int
    ) -> dict[str, NDArray[Any]]:
        """Raises Busy, and what onnxruntime raises."""
        if self.fits_in_loop(loaded, samples):
            return loaded.run(names, feeds)
        if self.waiting >= QUEUE_MAX:
            raise Busy(max(1, round(QUEUE_MAX * (loaded.run_s or 0.0))))
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, loaded.run, names, feeds)
        finally:
            self.waiting -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)
