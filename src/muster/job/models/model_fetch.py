"""Gets one commit's parameters from neighbours: by deltas, as a snapshot, or both beside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from muster.history.point import Point
from muster.job.context import Context
from muster.job.models.delta_path import Segment, delta_path
from muster.job.models.line_mean import keep_mean_of_line
from muster.job.models.payloads import payload_held
from muster.job.models.rebuild import follow_path
from muster.job.models.store import ModelStore
from muster.job.models.stored import WrongModel
from muster.job.view import JobView
from muster.network.blobs.waiters import Progress
from muster.protocol.ids import short
from muster.protocol.parts import Payload
from muster.protocol.records import Commit

QUIET_S = 15.0  # deltas that brought nothing for so long may be gone everywhere, or not be what was said
METERED_BYTES_MIN = 4096  # a shorter transfer says more of the latency than of the goodput


class ModelFetch:
    """Follows the deltas to a commit while they are less than its snapshot, else fetches the snapshot.

    While the deltas bring nothing the snapshot is fetched beside them, at a lower rank.  A snapshot that is
    being fetched is given up when a path of deltas appears that takes less than what is left of it.
    """

    def __init__(
        self, context: Context, view: JobView, models: ModelStore, point: Point, progress: Progress | None
    ) -> None:
        """`point` is a commit, no merge; `progress(held, all)` is called as bytes of any blob come."""
        assert isinstance(point.record, Commit)
        self._context, self._view, self._models = context, view, models
        self._point, self._record, self._progress = point, point.record, progress
        self._deltas: asyncio.Task[None] | None = None
        self._snapshot: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._deltas_fit = True
        self._grew_s = 0.0  # when the deltas last brought anything,
        self._quiet = False  # and whether that is too long ago
        self._news = asyncio.Event()  # a task ended, bytes came, or something is held that was not
        self.goodput_bytes_s: float | None = None  # of the snapshot, once it came whole

    async def run(self) -> None:
        """Return when the parameters are held. Raises what a fetch raises, except for deltas that do not fit.

        Waits through cuts as long as it takes: cancel it to give up.
        """
        if await keep_mean_of_line(self._context, self._view, self._models, self._record):
            return
        with self._models.watched(self._news):
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
        """Start and end tasks, so that what should run now runs."""
        if self._deltas is None and self._deltas_fit:
            path = self._path()
            if path is not None:
                self._grew_s, self._quiet = asyncio.get_running_loop().time(), False
                self._deltas = self._task(follow_path(self._context, self._models, path, self._delta_grew))
        if self._deltas is not None and not self._quiet:
            self._end_snapshot()
        elif self._snapshot is None:
            rank = 0 if self._deltas is None else 1
            self._snapshot = self._task(self._fetch_snapshot(rank))

    def _over(self) -> bool:
        """Whether the parameters are here. Raises what ended the snapshot's fetch."""
        if self._snapshot is not None and self._snapshot.done():
            self._snapshot.result()
            return True
        if self._deltas is not None and self._deltas.done():
            try:
                self._deltas.result()
                return True
            except (WrongModel, ValueError) as error:  # CodecError; a size that another record contradicts
                text = f"the deltas to {short(self._point.id)} do not fit ({error})"
                text += ": its whole model is fetched instead"
                self._context.event("error", text, job=self._view.id)
                self._deltas_fit, self._deltas = False, None
                self._end_snapshot()  # it was to stay behind the deltas; what came of it is kept
        return False

    def _path(self) -> list[Segment] | None:
        """The deltas to the commit, if less of them is missing than of its snapshot (small ones came with the
        records)."""
        if self._models.form_of(self._point.id) is None:
            return None
        limit_bytes = self._record.params_bytes - self._held_bytes()
        return delta_path(self._view.graph, self._point, self._models.held, self._missing_bytes, limit_bytes)

    def _missing_bytes(self, payload: Payload) -> int:
        return 0 if payload_held(self._context.store, payload) else payload.size_bytes

    def _held_bytes(self) -> int:
        """Of a snapshot that is being fetched."""
        status = self._context.transfers.status(self._record.params)
        return status.held_bytes if status else 0

    async def _fetch_snapshot(self, rank: int) -> None:
        blob, size_bytes = self._record.params, self._record.params_bytes
        began_s, left_bytes = self._context.now(), size_bytes - self._held_bytes()
        await self._context.transfers.fetch(blob, size_bytes, progress=self._grew, rank=rank)
        took_s = self._context.now() - began_s
        if left_bytes >= METERED_BYTES_MIN and took_s > 0:
            self.goodput_bytes_s = left_bytes / took_s

    def _end_snapshot(self) -> None:
        if self._snapshot is not None:
            self._snapshot.cancel()
            self._snapshot = None

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda _: self._news.set())
        self._tasks.append(task)
        return task

    def _delta_grew(self, held_bytes: int, all_bytes: int) -> None:
        if held_bytes:
            self._grew_s, self._quiet = asyncio.get_running_loop().time(), False
            self._news.set()
        self._grew(held_bytes, all_bytes)

    def _grew(self, held_bytes: int, all_bytes: int) -> None:
        if self._progress is not None:
            self._progress(held_bytes, all_bytes)
