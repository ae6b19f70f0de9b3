"""Which model a commit stands for, and how this node gets it (design sections 5.2, 5.5 and 5.7).

A commit's parameters are a dense blob whose id the commit carries.  A node gets them as a snapshot or by
the chain of deltas from a commit that it holds, whichever is smaller; either way the bytes must hash to the
id.  A merge has no blob to fetch: each node computes it from the parents.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec

from muster.compression.model import add, decode_update
from muster.compression.tensors import Layout, pack, unpack
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.folding import mean
from muster.job.keeping import KEEP_LAST
from muster.job.payloads import payload_bytes, payload_held
from muster.job.view import JobView
from muster.learning.aggregate import merge
from muster.network.transfer_state import Progress
from muster.records import BlobId, Commit, CommitId, JobId, Payload

Arrays = dict[str, Any]
TELLING_BYTES = 4096  # a shorter transfer says more of the latency than of the goodput
CHAIN_MAX = 1000  # deltas decoded one after another; from there on a snapshot is less trouble


class WrongModel(Exception):
    """The rebuilt parameters do not hash to what the commit says."""


class Models:
    """The parameters of one job's commits on this node."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._layout: Layout | None = None
        self._held: set[CommitId] = set()  # of the points looked at so far
        self._looked = 0
        self._version = 0  # grows when `_held` changes
        self._heads: tuple[int, int, list[Point]] = (-1, -1, [])
        self._known_heads: tuple[int, list[Point]] = (-1, [])
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

    def drop(self, blobs: Iterable[BlobId]) -> None:
        """Delete parameters; several commits may have the same."""
        gone = set(blobs)
        for blob in sorted(gone):
            self._context.store.delete_blob(blob)
        self._held = {c for c in self._held if self.blob_of(c) not in gone}
        self._version += 1

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

        `progress(held, all)` is called as bytes come of any blob that they are made from.
        """
        if not self.held(commit):
            await self._get(commit, progress)
        self._look(commit)

    async def _get(self, commit: CommitId, progress: Progress | None) -> None:
        point = self._view.graph.points[commit]
        if point.is_merge:
            a, b = point.parents
            await self.ensure(a, progress)
            await self.ensure(b, progress)
            self.keep_merge(point.id, a, b)
            return
        record = point.record
        assert isinstance(record, Commit)
        chain = self._chain(point)
        if chain is not None:
            try:
                await self._apply_chain(chain, progress)
                return
            except WrongModel:
                self._context.event("error", "a chain of deltas did not fit; fetching the whole model")
        if self._is_mean_of_line(record):
            return
        await self._fetch_whole(record.params, record.params_bytes, progress)

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

    async def _fetch_whole(self, blob: BlobId, size_bytes: int, progress: Progress | None) -> None:
        began_s, status = self._context.now(), self._context.transfers.status(blob)
        left_bytes = size_bytes - (status.held_bytes if status else 0)
        await self._context.transfers.fetch(blob, size_bytes, progress=progress, rank=0)
        took_s = self._context.now() - began_s
        if left_bytes >= TELLING_BYTES and took_s > 0:
            self.goodput_bytes_s = left_bytes / took_s

    def _chain(self, point: Point) -> list[Point] | None:
        """Commits from the nearest held ancestor to `point`, if what is missing of their deltas is less than
        a snapshot (small deltas came with the records)."""
        if self.layout is None or not isinstance(point.record, Commit):
            return None
        limit = point.record.params_bytes
        chain: list[Point] = []
        total = 0
        current = point
        while not self.held(current.id):
            record = current.record
            if not isinstance(record, Commit) or record.delta is None or len(chain) >= CHAIN_MAX:
                return None
            if not payload_held(self._context.store, record.delta):
                total += record.delta.size_bytes
            if total >= limit:
                return None
            chain.append(current)
            current = self._view.graph.points[record.parents[0]]
        return chain[::-1]

    async def _apply_chain(self, chain: list[Point], progress: Progress | None) -> None:
        """Rebuild the last of `chain`, which begins after a commit that is held. Raises WrongModel.

        Only the last few are kept on the way: for momentum, for a mean, for a merge with one of them.
        """
        layout, store = self.layout, self._context.store
        assert layout is not None
        base = chain[0].record.parents[0]
        params = self.arrays(base)
        for left, point in zip(range(len(chain) - 1, -1, -1), chain, strict=True):
            record = point.record
            assert isinstance(record, Commit)
            assert record.delta is not None
            message = await self.payload(record.delta, progress)
            params = add(layout, params, decode_update(layout, message))
            if left < KEEP_LAST:
                blob = store.put_blob(pack(layout, params))
                if blob != record.params:
                    store.delete_blob(blob)
                    raise WrongModel
                self._look(point.id)
            await asyncio.sleep(0)

    async def payload(self, payload: Payload, progress: Progress | None = None) -> bytes:
        """The bytes of a payload, fetched when they are not here."""
        if payload.blob is not None and not self._context.store.has_blob(payload.blob):
            fetch = self._context.transfers.fetch
            await fetch(payload.blob, payload.size_bytes, progress=progress, rank=0)
        return payload_bytes(self._context.store, payload)

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
