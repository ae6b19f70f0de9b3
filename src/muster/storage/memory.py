"""A store in memory for the simulation: the same rules as `disk.DiskStore`, and a disk that can fail.

What `DiskStore` promises to have made durable survives `crash`; of a transaction that was open, and of
partial blobs since their last sync, nothing must.  `blob_path` is not available (there is no file): it
raises StorageError, so the simulation gives its trainers bytes.
"""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from muster.protocol.ids import BlobId, JobId, NodeId, RecordId
from muster.storage.memory_blobs import MemoryPartial, StagedBytes
from muster.storage.store import Buffer, StagedBlob, StorageError, StoredRecord


class MemoryStore:
    """See `storage.store.Store`. `rng` draws the incarnation."""

    def __init__(self, rng: random.Random) -> None:
        self.lose(rng)

    # faults

    def lose(self, rng: random.Random) -> None:
        """The disk is replaced by an empty one: everything is gone, and the incarnation is a new one."""
        self.incarnation = rng.getrandbits(31)
        self._records: list[StoredRecord] = []
        self._record_bytes = 0
        self._last_sequence = 0
        self._by_id: dict[RecordId, StoredRecord] = {}
        self._by_prefix: defaultdict[bytes, list[RecordId]] = defaultdict(list)
        self._by_kind: defaultdict[str, list[StoredRecord]] = defaultdict(list)
        self._by_job: defaultdict[tuple[str, JobId], list[StoredRecord]] = defaultdict(list)
        self._state: dict[str, bytes] = {}
        self._blobs: dict[BlobId, bytes] = {}
        self._partials: dict[BlobId, MemoryPartial] = {}
        self._undo: list[Callable[[], object]] | None = None  # a list inside a transaction
        self._delete_later: list[BlobId] = []
        self._spoilt = False
        self._full = False

    def crash(self, rng: random.Random) -> None:
        """The process dies; an open transaction is undone, each partial blob may lose its newest cells."""
        self._undo_all()
        self._partials = {
            blob: partial.after_crash(rng.random() < 0.5) for blob, partial in self._partials.items()
        }

    def fill(self) -> None:
        """The disk is full: writes raise StorageError until `free`."""
        self._full = True

    def free(self) -> None:
        self._full = False

    @property
    def is_full(self) -> bool:
        return self._full

    def _must_have_room(self) -> None:
        if self._full:
            raise StorageError("the disk is full: free some space")

    # transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. An inner one joins the outer one; never `await` inside."""
        if self._undo is not None:
            try:
                yield
            except BaseException:
                self._spoilt = True
                raise
            return
        self._must_have_room()
        self._undo, self._spoilt = [], False
        try:
            yield
            if self._spoilt:
                raise StorageError("a part of this transaction failed, so all of it was undone: try again")
        except BaseException:
            self._undo_all()
            raise
        self._undo, later, self._delete_later = None, self._delete_later, []
        for blob in later:
            self.delete_blob(blob)

    def _undo_all(self) -> None:
        steps, self._undo, self._delete_later = self._undo or [], None, []
        for step in reversed(steps):
            step()

    def _may_undo(self, step: Callable[[], object]) -> None:
        if self._undo is not None:
            self._undo.append(step)

    # records

    def add(self, record_id: RecordId, kind: str, job: JobId, wire: bytes, source: NodeId) -> int | None:
        if record_id in self._by_id:
            return None
        self._must_have_room()
        record = StoredRecord(self._last_sequence + 1, record_id, kind, job, wire, source)
        self._last_sequence += 1
        self._insert(record)
        self._may_undo(lambda: self._undo_add(record))
        return record.sequence

    def _insert(self, record: StoredRecord) -> None:
        self._record_bytes += len(record.wire)
        self._by_id[record.id] = record
        self._by_prefix[record.id[:4]].append(record.id)
        for table in self._tables(record):
            insort(table, record, key=_sequence)

    def _tables(self, record: StoredRecord) -> tuple[list[StoredRecord], ...]:
        return self._records, self._by_kind[record.kind], self._by_job[record.kind, record.job]

    def _undo_add(self, record: StoredRecord) -> None:
        assert self._last_sequence == record.sequence
        self._last_sequence -= 1
        self._take_out(record)

    def remove(self, record_ids: Sequence[RecordId]) -> None:
        self._must_have_room()
        for record in [self._by_id[i] for i in record_ids if i in self._by_id]:
            self._take_out(record)
            self._may_undo(partial(self._insert, record))

    def _take_out(self, record: StoredRecord) -> None:
        self._record_bytes -= len(record.wire)
        del self._by_id[record.id]
        self._by_prefix[record.id[:4]].remove(record.id)
        for table in self._tables(record):
            del table[bisect_left(table, record.sequence, key=_sequence)]

    def rename(self, record_id: RecordId, kind: str, job: JobId) -> None:
        self._must_have_room()
        before = self._by_id[record_id]
        self._replace(before, replace(before, kind=kind, job=job))
        self._may_undo(lambda: self._replace(self._by_id[record_id], before))

    def _replace(self, old: StoredRecord, new: StoredRecord) -> None:
        self._take_out(old)
        self._insert(new)

    def get(self, record_id: RecordId) -> StoredRecord | None:
        return self._by_id.get(record_id)

    def find(self, prefix: bytes) -> list[RecordId]:
        pool = self._by_prefix.get(prefix[:4], []) if len(prefix) >= 4 else list(self._by_id)
        return sorted(record_id for record_id in pool if record_id.startswith(prefix))[:100]

    def since(self, sequence: int, limit: int) -> list[StoredRecord]:
        first = bisect_right(self._records, sequence, key=_sequence)
        return self._records[first : first + limit]

    def last_sequence(self) -> int:
        return self._last_sequence

    def select(
        self, kind: str, job: JobId | None = None, after: int = 0, limit: int | None = None
    ) -> list[StoredRecord]:
        found = self._by_kind.get(kind, []) if job is None else self._by_job.get((kind, job), [])
        first = bisect_right(found, after, key=_sequence) if after else 0
        return found[first : None if limit is None else first + limit]

    # state

    def state(self, key: str) -> bytes | None:
        return self._state.get(key)

    def set_state(self, key: str, value: bytes | None) -> None:
        self._must_have_room()
        before = self._state.get(key)
        self._put_state(key, value)
        self._may_undo(lambda: self._put_state(key, before))

    note_state = set_state

    def _put_state(self, key: str, value: bytes | None) -> None:
        if value is None:
            self._state.pop(key, None)
        else:
            self._state[key] = bytes(value)

    # blobs

    def has_blob(self, blob: BlobId) -> bool:
        return blob in self._blobs

    def blob_size(self, blob: BlobId) -> int | None:
        data = self._blobs.get(blob)
        return None if data is None else len(data)

    def put_blob(self, data: bytes) -> BlobId:
        blob = hashlib.sha256(data).digest()
        if blob in self._delete_later:
            self._delete_later.remove(blob)
        if blob not in self._blobs:
            self._must_have_room()
            self._keep_blob(blob, bytes(data))
        return blob

    def _keep_blob(self, blob: BlobId, data: bytes) -> None:
        self._must_have_room()
        self._blobs[blob] = data
        self._partials.pop(blob, None)
        self._may_undo(lambda: self._blobs.pop(blob, None))

    def stage(self, pieces: Iterable[Buffer]) -> StagedBytes:
        data = b"".join(pieces)
        staged = StagedBytes(hashlib.sha256(data).digest(), data)
        if staged.blob not in self._blobs:
            self._must_have_room()
        return staged

    def stage_file(self, path: Path) -> StagedBytes:
        staged = self.stage((path.read_bytes(),))
        path.unlink()
        return staged

    def put_staged(self, staged: StagedBlob) -> BlobId:
        assert isinstance(staged, StagedBytes)
        return self.put_blob(staged.data)

    def adopt_blob(self, path: Path) -> BlobId:
        """Reads the file and removes it."""
        blob = self.put_blob(path.read_bytes())
        path.unlink()
        return blob

    def read_blob(self, blob: BlobId, offset: int = 0, length: int | None = None) -> bytes:
        data = self._blobs[blob]
        end = len(data) if length is None else offset + length
        if not 0 <= offset <= end <= len(data):
            raise ValueError(f"bytes {offset} to {end} are outside a blob of {len(data)}")
        return data[offset:end]

    def sound(self, blob: BlobId) -> bool:
        return hashlib.sha256(self._blobs[blob]).digest() == blob

    def rot(self, blob: BlobId) -> None:
        """A few bits of a blob change, unnoticed, the high ones of a number among them."""
        data = bytearray(self._blobs[blob])
        middle = len(data) // 2
        for at in range(middle, min(middle + 4, len(data))):
            data[at] ^= 0x40
        self._blobs[blob] = bytes(data)

    def blob_path(self, blob: BlobId) -> Path:
        raise StorageError("a store in memory has no files: use read_blob")

    def partial(self, blob: BlobId, size_bytes: int) -> MemoryPartial:
        known = self._partials.get(blob)
        if known is None or known.size_bytes != size_bytes:
            self._must_have_room()
            known = self._partials[blob] = MemoryPartial(self, blob, size_bytes)
        return known

    def delete_blob(self, blob: BlobId) -> None:
        if self._undo is not None:
            self._delete_later.append(blob)
        else:
            self._blobs.pop(blob, None)
            self._partials.pop(blob, None)

    def blobs(self) -> Iterator[tuple[BlobId, int]]:
        yield from ((blob, len(self._blobs[blob])) for blob in sorted(self._blobs))

    def used_bytes(self) -> int:
        partial_bytes = sum(partial.held_bytes() for partial in self._partials.values())
        return sum(map(len, self._blobs.values())) + partial_bytes + self._record_bytes

    def close(self) -> None:
        """Nothing to do; the same object is the reopened store."""


def _sequence(record: StoredRecord) -> int:
    return record.sequence
