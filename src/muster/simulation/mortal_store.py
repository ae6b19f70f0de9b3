"""A node's disk as one process of it sees it: after the process's end nothing is written through it.

`kill -9` can come between any two writes: `arm(n)` ends the life at its n-th write from now, in the midst of
whatever it does (an open transaction is undone, as on a real disk).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from muster.protocol.ids import BlobId, JobId, NodeId, RecordId
from muster.storage.memory import MemoryStore
from muster.storage.memory_blobs import MemoryPartial, StagedBytes
from muster.storage.store import Buffer, StagedBlob


class Killed(asyncio.CancelledError):
    """The process ended at this write; passes through everything, like the end itself."""


class Unexpected(RuntimeError):
    """What no part of the product expects: a fault in the program."""


class MortalStore:
    """Implements `storage.store.Store`; calls `on_add(id, wire)` and `on_blob(id, data)` for what is kept."""

    def __init__(
        self,
        disk: MemoryStore,
        *,
        on_end: Callable[[], None],
        on_add: Callable[[RecordId, bytes], None],
        on_blob: Callable[[BlobId, bytes], object],
    ) -> None:
        self._disk, self._on_end, self._on_add, self._on_blob = disk, on_end, on_add, on_blob
        self.alive = True
        self._fuse: int | None = None
        self._misfire: int | None = None
        self._on_misfire: Callable[[], None] = lambda: None
        self._pending: list[tuple[RecordId, bytes]] | None = None  # of the open transaction
        self.incarnation = disk.incarnation
        # reading goes straight through: the bulk of all calls
        self.get, self.find, self.since = disk.get, disk.find, disk.since
        self.last_sequence, self.select, self.state = disk.last_sequence, disk.select, disk.state
        self.has_blob, self.blob_size, self.read_blob = disk.has_blob, disk.blob_size, disk.read_blob
        self.blob_path, self.blobs, self.used_bytes = disk.blob_path, disk.blobs, disk.used_bytes
        self.sound = disk.sound

    def arm(self, writes: int) -> None:
        """The life ends at the `writes`-th write from now."""
        self._fuse = writes

    def misfire(self, writes: int, on_misfire: Callable[[], None]) -> None:
        """The `writes`-th write from now raises `Unexpected`, once."""
        self._misfire, self._on_misfire = writes, on_misfire

    def disarm(self) -> None:
        self._fuse = self._misfire = None

    def end(self) -> None:
        self.alive = False
        self.read_blob = self._read_no_more

    @staticmethod
    def _read_no_more(blob: BlobId, offset: int = 0, length: int | None = None) -> bytes:
        """Ends a killed process that still has steps to do: its disk may be another one by now."""
        raise Killed

    def _writes(self) -> bool:
        if self.alive and self._fuse is not None:
            self._fuse -= 1
            if self._fuse <= 0:
                self.alive = False
                self._on_end()
                raise Killed
        if self.alive and self._misfire is not None:
            self._misfire -= 1
            if self._misfire <= 0:
                self._misfire = None
                self._on_misfire()
                raise Unexpected("drawn by the simulation")
        return self.alive

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if not self.alive:
            yield
            return
        if self._pending is not None:  # an inner one joins the outer one
            with self._disk.transaction():
                yield
            return
        pending: list[tuple[RecordId, bytes]] = []
        self._pending = pending
        try:
            with self._disk.transaction():
                yield
                if not self.alive:  # died inside for another reason
                    raise Killed
        finally:
            self._pending = None
        for record_id, wire in pending:
            self._on_add(record_id, wire)

    def add(self, record_id: RecordId, kind: str, job: JobId, wire: bytes, source: NodeId) -> int | None:
        if not self._writes():
            return None
        sequence = self._disk.add(record_id, kind, job, wire, source)
        if sequence is not None:
            if self._pending is None:
                self._on_add(record_id, wire)
            else:
                self._pending.append((record_id, wire))
        return sequence

    def remove(self, record_ids: Sequence[RecordId]) -> None:
        if self._writes():
            self._disk.remove(record_ids)

    def rename(self, record_id: RecordId, kind: str, job: JobId) -> None:
        if self._writes():
            self._disk.rename(record_id, kind, job)

    def set_state(self, key: str, value: bytes | None) -> None:
        if self._writes():
            self._disk.set_state(key, value)

    note_state = set_state

    def put_blob(self, data: bytes) -> BlobId:
        if self._writes():
            blob = self._disk.put_blob(data)
            self._on_blob(blob, data)
            return blob
        return b"\0" * 32

    def stage(self, pieces: Iterable[Buffer]) -> StagedBytes:
        return self._disk.stage(pieces)

    def stage_file(self, path: Path) -> StagedBytes:
        return self._disk.stage_file(path)

    def put_staged(self, staged: StagedBlob) -> BlobId:
        assert isinstance(staged, StagedBytes)
        return self.put_blob(staged.data)

    def adopt_blob(self, path: Any) -> BlobId:
        return self._disk.adopt_blob(path)

    def partial(self, blob: BlobId, size_bytes: int) -> _MortalPartial:
        return _MortalPartial(self, self._disk.partial(blob, size_bytes))

    def delete_blob(self, blob: BlobId) -> None:
        if self._writes():
            self._disk.delete_blob(blob)

    def close(self) -> None:
        self.end()


class _MortalPartial:
    def __init__(self, store: MortalStore, partial: MemoryPartial) -> None:
        self._store, self._partial = store, partial
        self.size_bytes = partial.size_bytes
        self.has, self.missing, self.read = partial.has, partial.missing, partial.read
        self.check = partial.check
        self.held_bytes = partial.held_bytes

    def write(self, offset: int, data: bytes) -> None:
        if self._store._writes():
            self._partial.write(offset, data)

    def finish(self, right: bool | None = None) -> bool:
        if not self._store._writes():
            raise Killed  # nothing is held by this: a fetch would go round for ever
        return self._partial.finish(right)
