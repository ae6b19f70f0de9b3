"""What a node pulls for one job: the parameters of heads, and payloads of updates that nobody counts yet."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from typing import Any

from muster.history.graph import Point
from muster.job.context import Context
from muster.job.models.delta_path import missing_ancestors
from muster.job.models.model_fetch import WrongModel
from muster.job.models.store import ModelStore
from muster.job.roles import coordinator
from muster.job.view import JobView, KnownUpdate
from muster.protocol.records import BlobId, CommitId
from muster.storage.store import StorageError

STALL_S = 5.0  # what has not grown for so long makes no progress
PAYLOADS_MAX = 64  # of updates, fetched at once; heads do not wait for them
CARRY_S = 15.0  # a coordinator unheard of for so long: its updates are carried


class JobFetcher:
    """The fetches of one job that are under way, and what is known of their progress."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._models_coming: dict[CommitId, asyncio.Task[None]] = {}
        self._payloads_coming: dict[BlobId, asyncio.Task[None]] = {}
        self._began_s: dict[CommitId, float] = {}  # when a model was first wanted
        self._grew_s: dict[CommitId, float] = {}  # when anything that it is made from last came in
        self._lost: set[CommitId] = set()  # heads whose parameters cannot be had now
        self._without_lost: tuple[tuple[int, frozenset[CommitId]], list[Point]] = ((-1, frozenset()), [])
        self._trouble = ""  # the last fault of a fetch, so that it is told once

    async def close(self) -> None:
        tasks = [*self._models_coming.values(), *self._payloads_coming.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def coming(self) -> list[Point]:
        """Heads known of whose parameters are not here, but can be had as far as one can tell.

        What they count comes with them: it is neither fetched nor folded again.
        """
        return [h for h in self._heads_to_be() if h.id not in self._lost and not self._models.held(h.id)]

    def uncounted(self, head: Point) -> list[KnownUpdate]:
        """Updates that neither `head` counts nor one that is to be merged with it."""
        others = [h.counted for h in (*self._models.heads(), *self.coming()) if h.id != head.id]
        return [u for u in self._view.waiting(head.counted) if not any(u.key in c for c in others)]

    # ---- models -------------------------------------------------------------------------------------

    def follow(self, own: frozenset[CommitId] = frozenset()) -> None:
        """Pull the parameters of every head that is known but of `own`; call it again and again.

        `own` are made here, from the job's seed.

        A commit whose parameters died with their maker would hide what others make of its parent: beside
        one that cannot be had, what would be a head without it is wanted, too.
        """
        self._lost = set()
        wanted: set[CommitId] = set()
        while True:
            heads = self._heads_to_be()
            self._models.look(h.id for h in heads)
            missing = {h.id for h in heads if not self._models.held(h.id)}
            wanted |= missing
            more = {c for c in missing if self._unobtainable(c)}
            if not more:
                break
            self._lost |= more
        self._end_superseded(wanted)
        for commit in sorted(wanted - own):
            if commit not in self._models_coming:
                self._began_s.setdefault(commit, self._context.now())
                self._begin(self._models_coming, commit, self._ensure(commit))

    def _end_superseded(self, wanted: set[CommitId]) -> None:
        """What is on its way to nothing that is wanted, or was and does not come."""
        superseded = [c for c in self._models_coming if c not in wanted]
        helps = missing_ancestors(self._view.graph, wanted, self._models.held) if superseded else set()
        for commit in superseded:
            task = self._models_coming[commit]
            if commit not in helps:
                task.add_done_callback(partial(self._forget, commit))
                task.cancel()
            elif self._stalled(commit):
                task.cancel()

    def _forget(self, commit: CommitId, _: asyncio.Task[None]) -> None:
        with contextlib.suppress(StorageError):  # a full disk may refuse even that
            self._models.drop_part(commit)

    def _heads_to_be(self) -> list[Point]:
        """What would be the heads if all that can be had were here."""
        if not self._lost:
            return self._models.known_heads()
        graph, key = self._view.graph, (self._view.graph.version, frozenset(self._lost))
        if self._without_lost[0] != key:
            self._without_lost = (key, graph.heads(lambda c: c not in self._lost))
        return self._without_lost[1]

    async def _ensure(self, commit: CommitId) -> None:
        def grew(held_bytes: int, _: int) -> None:
            if held_bytes:
                self._grew_s[commit] = self._context.now()

        try:
            await self._models.ensure(commit, grew)
        except WrongModel:  # a merge before the layout is known: tried again when something happens
            return
        self._began_s.pop(commit, None)
        self._grew_s.pop(commit, None)
        self._context.transfers.poke()  # rebuilt here, not fetched: neighbours may be waiting for it
        self._context.changes.notify()

    def _unobtainable(self, commit: CommitId) -> bool:
        began_s = self._began_s.get(commit)
        waited_s = self._context.now() - began_s if began_s is not None else 0.0
        return waited_s > self._view.job.patience_s / 2 and self._stalled(commit)

    def _stalled(self, commit: CommitId) -> bool:
        grew_s = self._grew_s.get(commit)
        return grew_s is None or self._context.now() - grew_s > STALL_S

    # ---- payloads -----------------------------------------------------------------------------------

    def gather(self, head: Point | None, acting: bool) -> None:
        """Pull the payloads of updates that are to be counted: a coordinator always, another node when the
        coordinator is out of reach, so that it can carry them there."""
        wanted: dict[BlobId, int] = {}
        if head is not None and (acting or self._carries(head)):
            for update in self.uncounted(head):
                payload = update.record.payload
                if payload.blob is not None and not self._context.store.has_blob(payload.blob):
                    wanted[payload.blob] = payload.size_bytes
        for blob, task in list(self._payloads_coming.items()):
            if blob not in wanted:  # counted meanwhile, or somebody else's to get
                task.cancel()
        for blob, size_bytes in wanted.items():
            if blob not in self._payloads_coming and len(self._payloads_coming) < PAYLOADS_MAX:
                self._begin(self._payloads_coming, blob, self._fetch(blob, size_bytes))

    async def _fetch(self, blob: BlobId, size_bytes: int) -> None:
        await self._context.transfers.fetch(blob, size_bytes, rank=1)
        self._context.changes.notify()

    def _carries(self, head: Point) -> bool:
        best = coordinator(self._view, head, lambda _: True)
        age_s = self._context.presence.age_s(best) if best is not None else None
        return age_s is None or age_s > min(CARRY_S, self._view.job.patience_s)

    # ---- both ---------------------------------------------------------------------------------------

    def _begin(
        self, table: dict[bytes, asyncio.Task[None]], key: bytes, work: Coroutine[Any, Any, None]
    ) -> None:
        task = table[key] = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(lambda done: self._ended(table, key, done))

    def _ended(self, table: dict[bytes, asyncio.Task[None]], key: bytes, task: asyncio.Task[None]) -> None:
        if table.get(key) is task:
            del table[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and str(error) != self._trouble:  # tried again in a while
            self._trouble = str(error)
            self._context.event("error", f"fetching failed: {error}", job=self._view.id)
