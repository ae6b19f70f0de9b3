"""A history with real parameters and deltas, and a node that is to get some of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
from histories import ID, JOB, A, entry

from muster.compression import parse
from muster.compression.change import add
from muster.compression.model import decode_update, encode_update
from muster.compression.tensors import pack
from muster.history.graph import merge_of
from muster.history.point import Point
from muster.job.models.job_fetcher import JobFetcher
from muster.job.models.store import ModelStore
from muster.job.sharing.pool import SharedPool
from muster.job.view import JobView
from muster.network.blobs.waiters import Progress
from muster.network.change_signal import ChangeSignal
from muster.network.sync.ledger import Entry
from muster.protocol.ids import NOBODY, BlobId, CommitId, NodeId
from muster.protocol.parts import Folded, Payload
from muster.protocol.records import Commit
from muster.simulation.trainers.linear import layout_of
from muster.storage.memory import MemoryStore
from muster.storage.offload import inline

LAYOUT = layout_of(1000)  # a model of 4 kB; by stc:0.02 a delta has some 30 bytes


class Lineage:
    """Who made it all. Each commit is one step by one node."""

    def __init__(self) -> None:
        self.store = MemoryStore(random.Random(1))
        self.entries: list[Entry] = []
        self.view = JobView(ID, JOB, A)
        self._rng = np.random.default_rng(1)
        context: Any = SimpleNamespace(store=self.store)
        self.models = ModelStore(context, self.view)
        self.models.learn_layout(LAYOUT)
        first = self.store.put_blob(pack(LAYOUT, {"w": np.zeros(1000, np.float32)}))
        self.root = self._take(entry(A, Commit(ID, (), 0, (), (A,), (), 0.0, first, LAYOUT.blob_bytes)))

    def point(self, commit: CommitId) -> Point:
        return self.view.graph.points[commit]

    def commit(self, parent: CommitId, *, author: NodeId = A, codec: str | None = "stc:0.02") -> CommitId:
        """`codec` None: without a delta."""
        before = self.point(parent)
        update = {"w": self._rng.normal(size=1000).astype(np.float32)}
        message = encode_update(parse(codec or "dense32"), LAYOUT, update)
        params = add(LAYOUT, self.models.arrays(parent), decode_update(LAYOUT, message))
        delta = Payload(codec, len(message), blob=self.store.put_blob(message)) if codec else None
        return self.put(parent, self.store.put_blob(pack(LAYOUT, params)), delta, author, before)

    def put(
        self, parent: CommitId, params: BlobId, delta: Payload | None, author: NodeId, before: Point
    ) -> CommitId:
        sequence = len(self.entries)
        folded = (Folded(author, 1, sequence, 4, 4, 0, 0.5),)
        joined = (author,) if author not in before.roster else ()
        record = Commit(
            ID, (parent,), before.round + 1, folded, joined, (), 1.0, params,
            LAYOUT.blob_bytes, delta,
        )  # fmt: skip
        return self._take(entry(author, record))

    def line(self, parent: CommitId, length: int, author: NodeId = A) -> list[CommitId]:
        found = [parent]
        for _ in range(length):
            found.append(self.commit(found[-1], author=author))
        return found[1:]

    def merge(self, a: CommitId, b: CommitId) -> CommitId:
        merge_id, record = merge_of(ID, a, b)
        self._take(entry(NOBODY, record))
        self.models.keep_merge(merge_id, self.models.merger(*record.parents)())
        return merge_id

    def spoil(self, commit: CommitId, delta: Payload) -> CommitId:
        """The commit with another delta."""
        record = msgspec.structs.replace(self.point(commit).record, delta=delta)
        return self._take(entry(self.point(commit).author, record))

    def delta(self, commit: CommitId) -> Payload:
        record = self.point(commit).record
        assert isinstance(record, Commit)
        assert record.delta is not None
        return record.delta

    def params(self, commit: CommitId) -> BlobId:
        blob = self.models.blob_of(commit)
        assert blob is not None
        return blob

    def _take(self, made: Entry) -> CommitId:
        self.entries.append(made)
        self.view.absorb(made)
        return made.id


class Getter:
    """A node that knows the whole history and has the parameters of a few commits."""

    def __init__(self, lineage: Lineage, held: Iterable[CommitId]) -> None:
        self.lineage = lineage
        self.store = MemoryStore(random.Random(2))
        self.transfers = Reach(lineage.store, self.store)
        self.events: list[str] = []
        self.context: Any = SimpleNamespace(
            store=self.store, transfers=self.transfers, now=lambda: asyncio.get_running_loop().time(),
            event=lambda kind, text, job: self.events.append(text), changes=ChangeSignal(), offload=inline,
            compute=lambda size_bytes: inline,
        )  # fmt: skip
        self.view = JobView(ID, JOB, A)
        for known in lineage.entries:
            self.view.absorb(known)
        self.models = ModelStore(self.context, self.view)
        self.models.learn_layout(LAYOUT)
        self.fetcher = JobFetcher(
            self.context, self.view, self.models, SharedPool(self.context, self.view, self.models)
        )
        for commit in held:
            self.take(commit)

    def take(self, commit: CommitId) -> None:
        """The parameters come by other means."""
        self.store.put_blob(self.lineage.store.read_blob(self.lineage.params(commit)))
        self.models.check([commit])

    def has_all_of(self, commit: CommitId) -> bool:
        return self.models.blob_of(commit) == self.lineage.params(commit) and self.models.held(commit)

    def fetched_whole(self, commit: CommitId) -> bool:
        return self.lineage.params(commit) in self.transfers.asked


class Reach:
    """Transfers from the one to the other: a blob comes a second after it can be had."""

    def __init__(self, there: MemoryStore, here: MemoryStore) -> None:
        self._there, self._here = there, here
        self.asked: list[BlobId] = []
        self.coming: list[BlobId] = []
        self.unavailable: set[BlobId] = set()
        self.part: dict[BlobId, int] = {}  # bytes that came before

    async def fetch(
        self, blob: BlobId, size_bytes: int, *, progress: Progress | None = None, rank: int = 0
    ) -> None:
        self.asked.append(blob)
        self.coming.append(blob)
        try:
            await asyncio.sleep(1.0)
            while blob in self.unavailable:
                await asyncio.sleep(1.0)
            if progress is not None:
                progress(size_bytes, size_bytes)
            self._here.put_blob(self._there.read_blob(blob))
        finally:
            self.coming.remove(blob)

    def status(self, blob: BlobId) -> Any:
        return SimpleNamespace(held_bytes=self.part[blob]) if blob in self.part else None

    def poke(self) -> None: ...
