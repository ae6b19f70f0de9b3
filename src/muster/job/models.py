"""Which model a commit stands for, and how this node gets it (design sections 5.2, 5.5 and 5.7).

A commit's parameters are a dense blob whose id the commit carries.  A node gets them as a snapshot or by
the chain of deltas from a commit that it holds, whichever is smaller; either way the bytes must hash to the
id.  A merge has no blob to fetch: each node computes it from the parents.
"""

from __future__ import annotations

from typing import Any

from muster.compression.model import add, decode_update
from muster.compression.tensors import Layout, pack, unpack
from muster.history.graph import Point
from muster.job.context import Context
from muster.job.payloads import payload_bytes
from muster.job.view import JobView
from muster.learning.aggregate import merge
from muster.records import BlobId, Commit, CommitId, Payload

Arrays = dict[str, Any]


class WrongModel(Exception):
    """The rebuilt parameters do not hash to what the commit says."""


class Models:
    """The parameters of one job's commits on this node."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self.layout: Layout | None = None

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

    async def ensure(self, commit: CommitId) -> None:
        """Hold a commit's parameters. Waits as long as it takes; cancel it when they are not wanted."""
        if self.held(commit):
            return
        point = self._view.graph.points[commit]
        if point.is_merge:
            await self._compute_merge(point)
            return
        record = point.record
        assert isinstance(record, Commit)
        chain = self._chain(point)
        if chain is not None:
            try:
                for link in chain:
                    await self._apply_delta(link)
                return
            except WrongModel:
                self._context.event("error", "a chain of deltas did not fit; fetching the whole model")
        await self._context.transfers.fetch(record.params, record.params_bytes, rank=0)

    def _chain(self, point: Point) -> list[Point] | None:
        """Commits from the nearest held ancestor to `point`, if that is less to fetch than a snapshot."""
        if self.layout is None or not isinstance(point.record, Commit):
            return None
        limit = point.record.params_bytes
        chain: list[Point] = []
        total = 0
        current = point
        while not self.held(current.id):
            record = current.record
            if not isinstance(record, Commit) or record.delta is None:
                return None
            total += record.delta.size_bytes
            if total >= limit:
                return None
            chain.append(current)
            current = self._view.graph.points[record.parents[0]]
        return chain[::-1]

    async def _apply_delta(self, point: Point) -> None:
        record = point.record
        assert isinstance(record, Commit)
        assert record.delta is not None
        assert self.layout is not None
        message = await self.payload(record.delta)
        params = add(self.layout, self.arrays(record.parents[0]), decode_update(self.layout, message))
        blob = self._context.store.put_blob(pack(self.layout, params))
        if blob != record.params:
            self._context.store.delete_blob(blob)
            raise WrongModel

    async def payload(self, payload: Payload, rank: int = 1) -> bytes:
        """The bytes of a payload, fetched when they are not here."""
        if payload.blob is not None and not self._context.store.has_blob(payload.blob):
            await self._context.transfers.fetch(payload.blob, payload.size_bytes, rank=rank)
        return payload_bytes(self._context.store, payload)

    async def _compute_merge(self, point: Point) -> None:
        a, b = point.parents
        await self.ensure(a)
        await self.ensure(b)
        if self.layout is None:
            raise WrongModel
        share = self._view.graph.share(a, b)
        params = merge(self.layout, self.arrays(a), self.arrays(b), share)
        blob = self._context.store.put_blob(pack(self.layout, params))
        self._context.store.set_state(_merged_key(point.id), blob)


def _merged_key(commit: CommitId) -> str:
    return "merged/" + commit.hex()
