"""Decides what a node pulls for one job: parameters of heads, payloads of updates that no head counts, and
shared samples."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from typing import Any

from muster.history.point import Point
from muster.job.context import Context
from muster.job.models.delta_path import merge_inputs, missing_ancestors
from muster.job.models.model_fetch import ModelFetch
from muster.job.models.rebuild import merge_here
from muster.job.models.store import ModelStore
from muster.job.models.stored import WrongModel
from muster.job.roles import coordinator
from muster.job.sharing.pool import SharedPool
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.network.blobs.waiters import Progress
from muster.protocol.ids import BlobId, CommitId
from muster.storage.store import StorageError

STALL_S = 5.0  # what has not grown for so long makes no progress
PAYLOADS_MAX = 64  # of updates, fetched at once; heads do not wait for them
CARRY_S = 15.0  # a coordinator unheard of for so long: its updates are carried


class JobFetcher:
    """Owns the fetches of one job that are running, and what is known of their progress."""

    def __init__(self, context: Context, view: JobView, models: ModelStore, pool: SharedPool) -> None:
        self._context, self._view, self._models, self._pool = context, view, models, pool
        self._model_fetches: dict[CommitId, asyncio.Task[None]] = {}
        self._payload_fetches: dict[BlobId, asyncio.Task[None]] = {}
        self._wanted_since_s: dict[CommitId, float] = {}
        self._grew_s: dict[CommitId, float] = {}  # when anything that a model is made from last came in
        self._unobtainable: set[CommitId] = set()  # heads whose parameters cannot be had now
        self._heads_without: tuple[tuple[int, frozenset[CommitId]], list[Point]] = ((-1, frozenset()), [])
        self._last_fault = ""  # of a fetch, so that it is reported once
        self.goodput_bytes_s = 0.0  # at which the last snapshot came; 0: none did

    async def close(self) -> None:
        """End all fetches."""
        tasks = [*self._model_fetches.values(), *self._payload_fetches.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def incoming_heads(self) -> list[Point]:
        """Known heads whose parameters are not here, but can be had as far as one can tell.

        What they count comes with them: it is neither fetched nor aggregated again.
        """
        heads = self._obtainable_heads()
        return [h for h in heads if h.id not in self._unobtainable and not self._models.held(h.id)]

    def uncounted(self, head: Point) -> list[KnownUpdate]:
        """Updates that neither `head` counts nor one that is to be merged with it."""
        others = [h.counted for h in (*self._models.heads(), *self.incoming_heads()) if h.id != head.id]
        return [u for u in self._view.uncounted(head.counted) if not any(u.key in c for c in others)]

    def growing(self) -> bool:
        """Whether anything comes in of what is being fetched."""
        ages = [self._context.progress_age_s(blob) for blob in self._payload_fetches]
        payload_grows = any(age_s is not None and age_s < STALL_S for age_s in ages)
        return payload_grows or not all(self._stalled(c) for c in self._model_fetches)

    # ---- models -------------------------------------------------------------------------------------

    async def ensure(self, commit: CommitId, progress: Progress | None = None) -> None:
        """Hold a commit's parameters. Waits as long as it takes; cancel it when they are not wanted.

        `progress(held, all)` is called as bytes come of any blob that they are made from.  Raises WrongModel
        for a merge that cannot be computed.
        """
        if not self._models.held(commit):
            point = self._view.graph.points[commit]
            await (self._ensure_merge if point.is_merge else self._ensure_commit)(point, progress)
        self._models.check([commit])

    async def _ensure_merge(self, merge: Point, progress: Progress | None) -> None:
        """Fetch the commits that a merge is made from, and compute it and the merges before it."""
        models = self._models
        missing = merge_inputs(self._view.graph, merge, models.held)
        with models.using({c for p in missing for c in (p.id, *p.parents)}):
            for point in missing:
                if not point.is_merge:
                    await self.ensure(point.id, progress)
                elif not models.held(point.id):
                    for parent in point.parents:
                        if not await models.sound(parent):
                            await self.ensure(parent, progress)
                    await merge_here(self._context, models, point)

    async def _ensure_commit(self, point: Point, progress: Progress | None) -> None:
        fetch = ModelFetch(self._context, self._view, self._models, point, progress)
        try:
            await fetch.run()
        finally:
            if fetch.goodput_bytes_s is not None:
                self.goodput_bytes_s = fetch.goodput_bytes_s

    def fetch_heads(self, own: frozenset[CommitId] = frozenset()) -> None:
        """Start fetches for the parameters of all known heads but `own`; call it again and again.

        `own` are made here, from the job's seed.

        A commit whose parameters died with their maker would hide what others make of its parent: beside
        one that cannot be had, what would be a head without it is wanted, too.
        """
        self._unobtainable = set()
        wanted: set[CommitId] = set()
        while True:
            heads = self._obtainable_heads()
            self._models.check(h.id for h in heads)
            missing = {h.id for h in heads if not self._models.held(h.id)}
            wanted |= missing
            more = {c for c in missing if self._given_up(c)}
            if not more:
                break
            self._unobtainable |= more
        self._end_superseded(wanted)
        for commit in sorted(wanted - own):
            if commit not in self._model_fetches:
                self._wanted_since_s.setdefault(commit, self._context.now())
                self._begin(self._model_fetches, commit, self._fetch_head(commit))

    def end_model_fetches(self) -> None:
        """This node takes no part any more: what it would train on is not wanted."""
        for task in self._model_fetches.values():
            task.cancel()

    def _end_superseded(self, wanted: set[CommitId]) -> None:
        """End fetches that lead to nothing wanted, and those that could help but make no progress."""
        superseded = [c for c in self._model_fetches if c not in wanted]
        helps = missing_ancestors(self._view.graph, wanted, self._models.held) if superseded else set()
        for commit in superseded:
            task = self._model_fetches[commit]
            if commit not in helps:
                task.add_done_callback(partial(self._delete_partial, commit))
                task.cancel()
            elif self._stalled(commit):
                task.cancel()

    def _delete_partial(self, commit: CommitId, _: asyncio.Task[None]) -> None:
        """Delete what came of a snapshot that is not wanted any more, unless somebody else waits for it."""
        blob = self._models.blob_of(commit)
        if blob is None or self._models.held(commit) or self._context.transfers.status(blob) is not None:
            return
        with contextlib.suppress(StorageError):  # a full disk may refuse even that
            self._context.store.delete_blob(blob)

    def _obtainable_heads(self) -> list[Point]:
        """What the heads would be if all that can be had were here."""
        if not self._unobtainable:
            return self._models.known_heads()
        graph = self._view.graph
        key = (graph.version, frozenset(self._unobtainable))
        if self._heads_without[0] != key:
            self._heads_without = (key, graph.heads(lambda c: c not in self._unobtainable))
        return self._heads_without[1]

    async def _fetch_head(self, commit: CommitId) -> None:
        def grew(held_bytes: int, _: int) -> None:
            if held_bytes:
                self._grew_s[commit] = self._context.now()

        try:
            await self.ensure(commit, grew)
        except WrongModel:  # a merge before the layout is known: tried again when something happens
            return
        self._wanted_since_s.pop(commit, None)
        self._grew_s.pop(commit, None)
        self._context.transfers.poke()  # rebuilt here, not fetched: neighbours may be waiting for it
        self._context.changes.notify()

    def _given_up(self, commit: CommitId) -> bool:
        """Whether a model has been wanted for long and brings nothing."""
        since_s = self._wanted_since_s.get(commit)
        waited_s = self._context.now() - since_s if since_s is not None else 0.0
        return waited_s > self._view.job.patience_s / 2 and self._stalled(commit)

    def _stalled(self, commit: CommitId) -> bool:
        grew_s = self._grew_s.get(commit)
        return grew_s is None or self._context.now() - grew_s > STALL_S

    # ---- payloads -----------------------------------------------------------------------------------

    def fetch_payloads(self, head: Point | None, acting: bool) -> None:
        """Start fetches for the payloads of updates that no head counts and for shared samples, and end those
        that are not needed.

        A coordinator (`acting`) always pulls them; another node when the coordinator is out of reach, so that
        it can carry them there.
        """
        wanted: dict[BlobId, tuple[int, int]] = {}  # bytes and rank
        carries = head is not None and self._carries(head)
        if head is not None and (acting or (self._context.relays() and carries)):
            for update in self.uncounted(head):
                payload = update.record.payload
                if payload.blob is not None and not self._context.store.has_blob(payload.blob):
                    wanted[payload.blob] = payload.size_bytes, 1
        for payload in self._pool.wanted(acting=acting, carries=carries):
            if payload.blob is not None:
                wanted.setdefault(payload.blob, (payload.size_bytes, 2))
        for blob, task in list(self._payload_fetches.items()):
            if blob not in wanted:  # counted meanwhile, or somebody else's to get
                task.cancel()
        for blob, (size_bytes, rank) in wanted.items():
            if blob not in self._payload_fetches and len(self._payload_fetches) < PAYLOADS_MAX:
                self._begin(self._payload_fetches, blob, self._fetch_payload(blob, size_bytes, rank))

    async def _fetch_payload(self, blob: BlobId, size_bytes: int, rank: int) -> None:
        await self._context.transfers.fetch(blob, size_bytes, rank=rank)
        self._context.changes.notify()

    def _carries(self, head: Point) -> bool:
        """Whether the coordinator has not been heard of for so long that its updates are carried to it."""
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
        if error is not None and str(error) != self._last_fault:  # tried again in a while
            self._last_fault = str(error)
            self._context.event("error", f"fetching failed: {error}", job=self._view.id)
