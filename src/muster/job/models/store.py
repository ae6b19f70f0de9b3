"""Which model a commit stands for, and how this node gets it (design sections 5.2, 5.5 and 5.7).

A commit's parameters are a dense blob whose id the commit carries.  A node gets them as a snapshot or by
the deltas from commits that it holds, through merges where there are any, whichever is smaller; either way
the bytes must hash to the id.  A merge has no blob to fetch: each node computes it from the parents.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import msgspec

from muster.algorithms.merging import merge
from muster.compression.change import add
from muster.compression.model import decode_update
from muster.compression.tensors import Layout, pack, unpack
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.models.delta_path import Segment, delta_path, origins
from muster.job.models.folding import mean
from muster.job.models.model_fetch import ModelFetch, WrongModel
from muster.job.models.payloads import payload_bytes, payload_held
from muster.job.models.retention import KEEP_LAST
from muster.job.view import JobView
from muster.network.blobs.state import Progress
from muster.protocol.records import BlobId, Commit, CommitId, JobId, Payload, short

Arrays = dict[str, Any]
TELLING_BYTES = 4096  # a shorter transfer says more of the latency than of the goodput


class ModelStore:
    """The parameters of one job's commits on this node."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._layout: Layout | None = None
        self._held: set[CommitId] = set()  # of the points looked at so far
        self._looked = 0
        self._version = 0  # grows when `_held` changes
        self._heads: tuple[int, int, list[Point]] = (-1, -1, [])
        self._known_heads: tuple[int, list[Point]] = (-1, [])
        self._fetches: set[ModelFetch] = set()
        self._building: Counter[CommitId] = Counter()  # what ways under way are made from, and lead through
        self.goodput_bytes_s = 0.0  # at which the last whole model came; 0: none did

    @property
    def layout(self) -> Layout | None:
        """The model's tensors; known from the first session of the trainer on, also after a restart."""
        if self._layout is None:
            kept = self._context.store.state(_layout_key(self._view.id))
            if kept is not None:
                self._layout = Layout.from_plain(msgspec.msgpack.decode(kept))
        return self._layout

    def learn_layout(self, layout: Layout) -> None:
        if self.layout != layout:
            plain = msgspec.msgpack.encode(layout.to_plain())
            self._context.store.set_state(_layout_key(self._view.id), plain)
            self._layout = layout

    def heads(self) -> list[Point]:
        """Points whose parameters this node holds and that no other one replaces (design 5.6)."""
        graph = self._view.graph
        if self._looked < len(graph.points):
            for point in islice(graph.points.values(), self._looked, None):
                self._look(point.id)
            self._looked = len(graph.points)
        if self._heads[:2] != (graph.version, self._version):
            self._heads = (graph.version, self._version, graph.heads(self._held.__contains__))
        return self._heads[2]

    def look(self, commits: Iterable[CommitId]) -> None:
        """Parameters may have come by other means: as a relay for a neighbour, from another job."""
        for commit in commits:
            self._look(commit)

    def _look(self, commit: CommitId) -> None:
        if commit not in self._held and self.held(commit):
            self._held.add(commit)
            self._version += 1
            for fetch in self._fetches:
                fetch.look()

    def drop(self, blobs: Iterable[BlobId]) -> None:
        """Delete parameters; several commits may have the same."""
        gone = set(blobs)
        for blob in sorted(gone):
            self._context.store.delete_blob(blob)
        self._held = {c for c in self._held if self.blob_of(c) not in gone}
        self._version += 1

    def drop_part(self, commit: CommitId) -> None:
        """Delete what came of a snapshot that is not wanted any more, unless somebody else waits for it."""
        blob = self.blob_of(commit)
        if blob is not None and not self.held(commit) and self._context.transfers.status(blob) is None:
            self._context.store.delete_blob(blob)

    def known_heads(self) -> list[Point]:
        """Heads of all that is known of, whether anybody in reach has the parameters or not."""
        graph = self._view.graph
        if self._known_heads[0] != graph.version:
            self._known_heads = (graph.version, graph.heads(lambda _: True))
        return self._known_heads[1]

    def blob_of(self, commit: CommitId) -> BlobId | None:
        """The id of a commit's parameters; of a merge only once it was computed here."""
        point = self._view.graph.points.get(commit)
        if point is None:
            return None
        if isinstance(point.record, Commit):
            return point.record.params
        return self._context.store.state(_merged_key(commit))

    def held(self, commit: CommitId) -> bool:
        blob = self.blob_of(commit)
        return blob is not None and self._context.store.has_blob(blob)

    def arrays(self, commit: CommitId) -> Arrays:
        """The parameters of a commit that is held."""
        blob = self.blob_of(commit)
        assert blob is not None
        assert self.layout is not None
        return unpack(self.layout, self._context.store.read_blob(blob))

    async def ensure(self, commit: CommitId, progress: Progress | None = None) -> None:
        """Hold a commit's parameters. Waits as long as it takes; cancel it when they are not wanted.

        `progress(held, all)` is called as bytes come of any blob that they are made from.  Raises WrongModel
        for a merge that cannot be computed.
        """
        if not self.held(commit):
            point = self._view.graph.points[commit]
            await (self._get_merge if point.is_merge else self._get)(point, progress)
        self._look(commit)

    async def _get_merge(self, merge: Point, progress: Progress | None) -> None:
        missing = origins(self._view.graph, merge, self.held)
        with self._kept({c for p in missing for c in (p.id, *p.parents)}):
            for point in missing:
                if not point.is_merge:
                    await self.ensure(point.id, progress)
                elif not self.held(point.id):
                    self.keep_merge(point.id, *point.parents)
                    await asyncio.sleep(0)

    async def _get(self, point: Point, progress: Progress | None) -> None:
        record = point.record
        assert isinstance(record, Commit)
        if self._is_mean_of_line(record):
            return
        fetch = ModelFetch(
            partial(self._way, point), self._follow,
            partial(self._fetch_whole, record.params, record.params_bytes), partial(self._unfit, point),
            progress,
        )  # fmt: skip
        self._fetches.add(fetch)
        try:
            await fetch.run()
        finally:
            self._fetches.remove(fetch)

    def _unfit(self, point: Point, error: Exception) -> None:
        text = f"the deltas to {short(point.id)} do not fit ({error}): its whole model is fetched instead"
        self._context.event("error", text, job=self._view.id)

    def mean_of_line(self, head: Point) -> tuple[bytes, int]:
        """The mean of the line's last models, packed, and of how many: the rounds' jitter cancels in it.

        (Stochastic weight averaging: Izmailov et al., UAI 2018, arXiv 1803.05407.)
        """
        assert self.layout is not None
        line = [head]
        while len(line) < self._view.job.recipe.average and len(line[-1].parents) == 1:
            before = self._view.graph.points[line[-1].parents[0]]
            if not before.folded or not self.held(before.id):
                break
            line.append(before)
        return pack(self.layout, mean(self.layout, [p.id for p in line], self.arrays)), len(line)

    def _is_mean_of_line(self, record: Commit) -> bool:
        """Whether a closing commit is what this node can work out from the models that it holds."""
        closes = len(record.parents) == 1 and not record.folded and self._view.job.recipe.average > 1
        if not closes or self.layout is None or not self.held(record.parents[0]):
            return False
        packed, _ = self.mean_of_line(self._view.graph.points[record.parents[0]])
        if hashlib.sha256(packed).digest() != record.params:
            return False
        self._context.store.put_blob(packed)
        return True

    async def _fetch_whole(self, blob: BlobId, size_bytes: int, progress: Progress | None, rank: int) -> None:
        began_s, left_bytes = self._context.now(), size_bytes - self._held_bytes(blob)
        await self._context.transfers.fetch(blob, size_bytes, progress=progress, rank=rank)
        took_s = self._context.now() - began_s
        if left_bytes >= TELLING_BYTES and took_s > 0:
            self.goodput_bytes_s = left_bytes / took_s

    def _held_bytes(self, blob: BlobId) -> int:
        """Of a blob that is on its way."""
        status = self._context.transfers.status(blob)
        return status.held_bytes if status else 0

    def _way(self, point: Point) -> list[Segment] | None:
        """The deltas to a commit, if less of them is missing than of its snapshot (small ones came with the
        records)."""
        record = point.record
        if self.layout is None or not isinstance(record, Commit):
            return None
        limit_bytes = self.layout.blob_bytes - self._held_bytes(record.params)
        return delta_path(self._view.graph, point, self.held, self._missing_bytes, limit_bytes)

    def _missing_bytes(self, payload: Payload) -> int:
        return 0 if payload_held(self._context.store, payload) else payload.size_bytes

    async def _follow(self, segments: list[Segment], progress: Progress) -> None:
        """Make the last point of a way. Raises WrongModel, CodecError."""
        ends = {c for s in segments for c in (*s[0].parents, s[-1].id)}
        with self._kept(ends):
            for segment in segments:
                last = segment[-1]
                if self.held(last.id):  # it came by other means meanwhile
                    continue
                if not all(self.held(c) for c in segment[0].parents):
                    raise WrongModel("what they begin from was deleted")
                if last.is_merge:
                    self.keep_merge(last.id, *last.parents)
                else:
                    await self._apply_chain(segment, progress, KEEP_LAST if segment is segments[-1] else 1)
                await asyncio.sleep(0)

    async def _apply_chain(self, chain: Segment, progress: Progress, keep: int) -> None:
        """Rebuild the last of `chain`, which begins after a commit that is held.

        Only the last `keep` are kept on the way: for momentum, for a mean, for a merge with one of them.
        Raises WrongModel, CodecError.
        """
        layout = self.layout
        assert layout is not None
        params = self.arrays(chain[0].parents[0])
        for left, point in zip(range(len(chain) - 1, -1, -1), chain, strict=True):
            record = point.record
            assert isinstance(record, Commit)
            assert record.delta is not None
            message = await self.payload(record.delta, progress)
            params = add(layout, params, decode_update(layout, message))
            if left < keep:
                packed = pack(layout, params)
                if hashlib.sha256(packed).digest() != record.params:  # before it is kept: it may be another's
                    raise WrongModel("they lead to other parameters")
                self._context.store.put_blob(packed)
                self._look(point.id)
            await asyncio.sleep(0)

    async def payload(self, payload: Payload, progress: Progress | None = None) -> bytes:
        """The bytes of a payload, fetched when they are not here."""
        if payload.blob is not None and not self._context.store.has_blob(payload.blob):
            fetch = self._context.transfers.fetch
            await fetch(payload.blob, payload.size_bytes, progress=progress, rank=0)
        return payload_bytes(self._context.store, payload)

    @contextlib.contextmanager
    def _kept(self, commits: set[CommitId]) -> Iterator[None]:
        """What is made of these parameters would be lost with them: no room is made by deleting them."""
        self._building.update(commits)
        try:
            yield
        finally:
            self._building -= Counter(commits)

    def building(self) -> list[CommitId]:
        """Commits whose parameters are needed for what is being rebuilt now."""
        return list(self._building)

    def keep_merge(self, merge_id: CommitId, a: CommitId, b: CommitId) -> None:
        """Compute the merge of two commits that are held, and keep it. Raises WrongModel."""
        if self.layout is None:
            raise WrongModel("the model's layout is not known yet")
        share = self._view.graph.share(a, b)
        params = merge(self.layout, self.arrays(a), self.arrays(b), share)
        store = self._context.store
        with store.transaction():
            blob = store.put_blob(pack(self.layout, params))
            store.set_state(_merged_key(merge_id), blob)
        self._look(merge_id)  # its record may have been known before


def _layout_key(job: JobId) -> str:
    return "layout/" + job.hex()


def _merged_key(commit: CommitId) -> str:
    return "merged/" + commit.hex()
