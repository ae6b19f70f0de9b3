"""What a task does not train, on a node whose own is another than the job's, or that has none.

It is one blob, named by the job's record.  A node asks for it only when its trainer found the difference;
it comes from the asker or from whoever fetched it, once: the next job with the same one finds it here.
"""

from __future__ import annotations

import asyncio

from muster.job.context import Context
from muster.job.models.store import ModelStore
from muster.job.roles import finished
from muster.job.view import JobView
from muster.job.waits import Wait
from muster.protocol.ids import BlobId
from muster.storage.store import StorageError

ROOM_RETRY_S = 10.0  # between two tries to fetch onto a full disk


class FrozenPart:
    """Owns the fetch of one job's frozen part, and knows whether this node has to have it."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._lacking = False  # this node's own is another
        self._fetch: asyncio.Task[None] | None = None
        self._retry_s = 0.0  # loop time before which a full disk is not tried again

    @property
    def blob(self) -> BlobId | None:
        """The job's frozen part, if its asker offers it."""
        return self._view.job.frozen

    def unwilling(self) -> str | None:
        """Why this node does not fetch it; None: it does."""
        limit_bytes = self._context.policy.disk_limit_bytes
        if self._view.job.frozen_bytes > limit_bytes:
            return (
                f"the frozen part of the task is not here and has {self._size()}, over the "
                f"{_mb(limit_bytes)} of policy.disk_limit_mb: raise it, or give this node the task's files"
            )
        owner = self._context.policy.owner
        if owner.metered and self._view.job.frozen_bytes > (owner.bytes_per_day or 0):
            return (
                f"the frozen part of the task is not here and has {self._size()}, more than a day's bytes of "
                "policy.metered: give this node the task's files, or raise policy.bytes_per_day"
            )
        return None

    def lacks(self) -> None:
        """The trainer found that its own is another than the job's."""
        self._lacking = True

    def due(self) -> bool:
        """Whether it has to be fetched before the trainer can work."""
        return self._lacking and self.blob is not None and not self._context.store.has_blob(self.blob)

    async def held(self) -> bool:
        """Whether it is here, and still what its id says; a damaged one is deleted."""
        blob, store = self.blob, self._context.store
        if blob is None or not store.has_blob(blob):
            return False
        if await self._context.offload(store.sound, blob):
            return True
        store.delete_blob(blob)
        return False

    def needs(self) -> set[BlobId]:
        """The blob, where this node cannot do without it: its own is another, or it asked for the job, which
        goes on, and others may lack it."""
        if self.blob is None or not self._context.store.has_blob(self.blob):
            return set()
        asked = self._view.asker == self._context.node
        return {self.blob} if self._lacking or (asked and not self._over()) else set()

    def wait(self) -> Wait | None:
        """That the job waits for it here, in a sentence."""
        if not self.due():
            return None
        name = self._context.name_of(self._view.asker)
        if self._comes():
            return Wait(f"fetches the frozen part of the task, {self._size()}, from {name}")
        return Wait(f"waits for the frozen part of the task, {self._size()}, which {name} has")

    def look(self) -> None:
        """Begin the fetch when it is due, end it when the job is over; call it again and again."""
        if self._over():
            self.pause()
        elif self.due() and not self.fetching and self._context.now() >= self._retry_s:
            self._fetch = asyncio.get_running_loop().create_task(self._bring())

    @property
    def fetching(self) -> bool:
        return self._fetch is not None and not self._fetch.done()

    def pause(self) -> None:
        """End the fetch; the next one goes on from what came."""
        if self._fetch is not None:
            self._fetch.cancel()

    async def close(self) -> None:
        """End the fetch, and wait for its end."""
        self.pause()
        if self._fetch is not None:
            await asyncio.gather(self._fetch, return_exceptions=True)

    async def _bring(self) -> None:
        assert self.blob is not None
        context, job = self._context, self._view.job
        name, began_s = context.name_of(self._view.asker), context.now()
        context.event(
            "job", f"fetches the frozen part of the task, {self._size()}, from {name}", job=self._view.id
        )
        try:
            await context.transfers.fetch(self.blob, job.frozen_bytes, rank=0)
        except (StorageError, ValueError) as error:
            text = f"the frozen part of the task does not come in: {error}"
            context.event("error", text, job=self._view.id)
            self._retry_s = context.now() + ROOM_RETRY_S
            return
        took_s = context.now() - began_s
        text = f"has the frozen part of the task: {self._size()} came in {took_s:.0f} s, beside the rounds"
        context.event("job", text, job=self._view.id)
        context.changes.notify()

    def _over(self) -> bool:
        return finished(self._view, self._models.heads()) is not None

    def _comes(self) -> bool:
        assert self.blob is not None
        status = self._context.transfers.status(self.blob)
        return status is not None and status.last_progress_s is not None

    def _size(self) -> str:
        return _mb(self._view.job.frozen_bytes)


def _mb(size_bytes: int) -> str:
    for unit, limit in ((1e6, "MB"), (1e3, "kB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.3g} {limit}"
    return f"{size_bytes} bytes"
