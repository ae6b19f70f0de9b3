"""What a node has on its disk once its process has ended, and what must hold of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from muster.compression.tensors import Layout, unpack
from muster.history.counted import Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.models.stored import Arrays
from muster.protocol.envelope import decode
from muster.protocol.envelope import unpack as opened
from muster.protocol.ids import BlobId, CommitId, JobId
from muster.protocol.records import Commit, Update
from muster.storage.disk import DiskStore


@dataclass(frozen=True)
class Kept:
    """One node's disk, as far as a job goes."""

    name: str
    store: DiskStore
    job: JobId
    graph: Graph
    updates: dict[Key, Update]

    def blob_of(self, commit: CommitId) -> BlobId | None:
        """The id of a commit's parameters, which is the hash of their bytes."""
        record = self.graph.points[commit].record
        return record.params if isinstance(record, Commit) else self.store.state("merged/" + commit.hex())

    def holds(self, commit: CommitId) -> bool:
        blob = self.blob_of(commit)
        return blob is not None and self.store.has_blob(blob)

    def arrays(self, layout: Layout, commit: CommitId) -> Arrays:
        blob = self.blob_of(commit)
        assert blob is not None
        return unpack(layout, self.store.read_blob(blob))

    def head(self) -> Point:
        """The one head."""
        heads = self.graph.heads(self.holds)
        assert len(heads) == 1, f"{self.name} has {len(heads)} heads"
        return heads[0]


@contextmanager
def kept(rundir: Path, names: Sequence[str], job: str) -> Iterator[list[Kept]]:
    """The disks of nodes that have ended."""
    stores: list[DiskStore] = []
    try:
        found = []
        for name in names:
            stores.append(DiskStore(rundir / name))
            found.append(_read(name, stores[-1], bytes.fromhex(job)))
        yield found
    finally:
        for store in stores:
            store.close()


def _read(name: str, store: DiskStore, job: JobId) -> Kept:
    graph, updates = Graph(), {}
    for kind in ("commit", "merge", "update"):
        for stored in store.select(kind, job):
            signed = opened(stored.wire)
            record = decode(signed.body)
            if isinstance(record, Update):
                updates[Key(signed.author, record.incarnation, record.sequence)] = record
            else:
                graph.add(stored.id, signed.author, record)  # type: ignore[arg-type]
    return Kept(name, store, job, graph, updates)


def one_head(disks: Sequence[Kept]) -> Point:
    """All nodes hold one head, and the same bits of it."""
    heads = {disk.name: disk.head() for disk in disks}
    assert len({head.id for head in heads.values()}) == 1, {n: h.id.hex()[:8] for n, h in heads.items()}
    head = next(iter(heads.values()))
    for point in disks[0].graph.ancestors(head.id):
        blobs = {disk.blob_of(point.id) for disk in disks if disk.holds(point.id)}
        assert len(blobs) <= 1, f"commit {point.id.hex()[:8]} has not the same bits everywhere"
    return head


def counted_once(disks: Sequence[Kept], head: Point) -> None:
    """Every update that any node ever made is in the head's history, folded or discarded with a reason, and
    no commit counts what its own history counts already."""
    made = {key for disk in disks for key in disk.updates}
    named: set[Key] = set()
    graph = disks[0].graph
    for point in graph.ancestors(head.id):
        if point.is_merge:
            continue
        assert isinstance(point.record, Commit)
        keys = [Key(f.node, f.incarnation, f.sequence) for f in (*point.folded, *point.record.discarded)]
        assert len(keys) == len(set(keys)), f"commit {point.id.hex()[:8]} counts an update twice"
        for parent in point.parents:
            again = [key for key in keys if key in graph.points[parent].counted]
            assert not again, f"commit {point.id.hex()[:8]} counts {again} again"
        named.update(keys)
    assert made == named, f"{len(made - named)} updates are not in the history"
    assert all(key in head.counted for key in made)
