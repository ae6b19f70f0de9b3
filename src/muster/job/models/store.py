"""What a node holds of one job's parameters, and the heads that follow from it.

A commit's parameters are a dense blob whose id (a hash) the commit carries.  A merge's parameters are
computed by each node from the two parents; the node keeps their blob's id in its store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from muster.algorithms.merging import merge
from muster.compression.tensors import Layout, check, chunks, unpack
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.view import JobView
from muster.protocol.records import BlobId, Commit, CommitId, JobId, short
from muster.storage.store import Blobs, StagedBlob

Arrays = dict[str, Any]
CHECK_AGAIN_S = 600.0  # a disk may lose bits while the process lives
SOUND_MAX = 64


class WrongModel(Exception):
    """Parameters cannot be rebuilt, or do not hash to what their commit says."""


@dataclass(frozen=True)
class Reader:
    """Reads parameters, by tensor name. The call takes long; in any thread.

    It raises KeyError when they were deleted meanwhile.
    """

    store: Blobs
    layout: Layout
    blob: BlobId

    def __call__(self) -> Arrays:
        return unpack(self.layout, self.store.read_blob(self.blob))


class ModelStore:
    """Owns the record of which commits' parameters this node holds for one job, and the model's layout.

    Everything here is answered from what is held: nothing is fetched and nothing waits.
    """

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._layout: Layout | None = None
        self._held: set[CommitId] = set()  # of the points checked so far
        self._checked = 0
        self._version = 0  # grows when `_held` changes
        self._heads: tuple[int, int, list[Point]] = (-1, -1, [])
        self._known_heads: tuple[int, list[Point]] = (-1, [])
        self._watching: set[asyncio.Event] = set()
        self._in_use: Counter[CommitId] = Counter()
        self._sound_s: dict[BlobId, float] = {}  # when blobs were last checked, the newest last

    @property
    def layout(self) -> Layout | None:
        """The model's tensors; known from the first session of the trainer on, also after a restart."""
        if self._layout is None:
            kept = self._context.store.state(_layout_key(self._view.id))
            if kept is not None:
                self._layout = Layout.from_plain(msgspec.msgpack.decode(kept))
        return self._layout

    def learn_layout(self, layout: Layout) -> None:
        """Keep the model's layout in the node's store."""
        if self.layout != layout:
            plain = msgspec.msgpack.encode(layout.to_plain())
            self._context.store.set_state(_layout_key(self._view.id), plain)
            self._layout = layout

    # ---- what is held -------------------------------------------------------------------------------

    def blob_of(self, commit: CommitId) -> BlobId | None:
        """The id of a commit's parameters; of a merge only once it was computed here."""
        point = self._view.graph.points.get(commit)
        if point is None:
            return None
        if isinstance(point.record, Commit):
            return point.record.params
        return self._context.store.state(_merged_key(commit))

    def held(self, commit: CommitId) -> bool:
        """Whether a commit's parameters are on this node."""
        blob = self.blob_of(commit)
        return blob is not None and self._context.store.has_blob(blob)

    def reader(self, commit: CommitId) -> Reader:
        """Reads the parameters of a commit that is held."""
        blob, layout = self.blob_of(commit), self.layout
        assert blob is not None
        assert layout is not None
        return Reader(self._context.store, layout, blob)

    def arrays(self, commit: CommitId) -> Arrays:
        """The parameters of a commit that is held, by tensor name. Takes long."""
        return self.reader(commit)()

    def heads(self) -> list[Point]:
        """Points whose parameters this node holds and that no other held one replaces."""
        self.look()
        graph = self._view.graph
        if self._heads[:2] != (graph.version, self._version):
            self._heads = (graph.version, self._version, graph.heads(self._held.__contains__))
        return self._heads[2]

    def look(self) -> None:
        """Note of new points whether their parameters are held."""
        points = self._view.graph.points
        if self._checked < len(points):
            self.check([point.id for point in islice(points.values(), self._checked, None)])
            self._checked = len(points)

    def known_heads(self) -> list[Point]:
        """Heads of the whole known history, whether anybody in reach has their parameters or not."""
        graph = self._view.graph
        if self._known_heads[0] != graph.version:
            self._known_heads = (graph.version, graph.heads(lambda _: True))
        return self._known_heads[1]

    # ---- whether it is sound ------------------------------------------------------------------------

    async def sound(self, commit: CommitId) -> bool:
        """Whether a commit's parameters are held and still are what its hash says, before they become a base.

        Damaged ones are deleted, so that they are fetched or computed again.
        """
        blob, store = self.blob_of(commit), self._context.store
        if blob is None or not store.has_blob(blob):
            self._not_held(commit)
            return False
        checked_s = self._sound_s.get(blob)
        if checked_s is not None and self._context.now() - checked_s < CHECK_AGAIN_S:
            return True
        try:
            sound = await self._context.offload(store.sound, blob)
        except KeyError:  # deleted meanwhile
            self._not_held(commit)
            return False
        if sound:
            self._sound_s[blob] = self._context.now()
            for old in list(self._sound_s)[:-SOUND_MAX]:
                del self._sound_s[old]
            return True
        self.drop([blob])
        text = f"the model of {short(commit)} was damaged on this disk: it is fetched again"
        self._context.event("error", text, job=self._view.id)
        self._context.changes.notify()
        return False

    def _not_held(self, commit: CommitId) -> None:
        if commit in self._held:
            self._held.discard(commit)
            self._version += 1

    def checked(self, commit: CommitId) -> bool:
        """Whether a commit's parameters were found to be sound in this life of the process."""
        return self.blob_of(commit) in self._sound_s

    # ---- what changes it ----------------------------------------------------------------------------

    def check(self, commits: Iterable[CommitId]) -> None:
        """Note which of `commits` are held by now: a relay or another job may have brought their blobs."""
        for commit in commits:
            self._check(commit)

    def _check(self, commit: CommitId) -> None:
        if commit not in self._held and self.held(commit):
            self._held.add(commit)
            self._version += 1
            for event in self._watching:
                event.set()

    @contextlib.contextmanager
    def watched(self, event: asyncio.Event) -> Iterator[None]:
        """Set `event` whenever parameters come to be held, until the block ends."""
        self._watching.add(event)
        try:
            yield
        finally:
            self._watching.remove(event)

    def merger(self, a: CommitId, b: CommitId) -> Callable[[], StagedBlob]:
        """Computes the merge of two commits that are held. The call takes long; in any thread.

        Raises WrongModel without a layout; the call raises KeyError when a parent was deleted meanwhile.
        """
        layout, store = self.layout, self._context.store
        if layout is None:
            raise WrongModel("the model's layout is not known yet")
        share, one, other = self._view.graph.share(a, b), self.reader(a), self.reader(b)
        return partial(_stage_merge, store, layout, one, other, share)

    def keep_merge(self, merge_id: CommitId, merged: StagedBlob) -> None:
        """Keep what `merger` computed."""
        store = self._context.store
        with store.transaction():
            store.set_state(_merged_key(merge_id), store.put_staged(merged))
        self._check(merge_id)  # its record may have been known before

    def drop(self, blobs: Iterable[BlobId]) -> None:
        """Delete parameters; several commits may have the same."""
        gone = set(blobs)
        for blob in sorted(gone):
            self._sound_s.pop(blob, None)
            self._context.store.delete_blob(blob)
        self._held = {c for c in self._held if self.blob_of(c) not in gone}
        self._version += 1

    @contextlib.contextmanager
    def using(self, commits: set[CommitId]) -> Iterator[None]:
        """Keep these parameters from being deleted to make room, because others are being made from them."""
        self._in_use.update(commits)
        try:
            yield
        finally:
            self._in_use -= Counter(commits)

    def in_use(self) -> list[CommitId]:
        """Commits whose parameters are needed for what is being rebuilt now."""
        return list(self._in_use)


def _stage_merge(store: Blobs, layout: Layout, one: Reader, other: Reader, share: float) -> StagedBlob:
    return stage_arrays(store, layout, merge(layout, one(), other(), share))


def stage_arrays(store: Blobs, layout: Layout, arrays: Arrays) -> StagedBlob:
    """Write parameters aside as a dense blob. Takes long; in any thread. Raises TensorError."""
    check(layout, arrays)
    return store.stage(chunks(layout, arrays))


def _layout_key(job: JobId) -> str:
    return "layout/" + job.hex()


def _merged_key(commit: CommitId) -> str:
    return "merged/" + commit.hex()
