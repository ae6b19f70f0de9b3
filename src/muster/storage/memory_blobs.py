"""Blobs of the store in memory: what arrives, and what is written aside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

from muster.protocol.ids import BlobId
from muster.storage.cells import Cells

SYNC_BYTES = 256 * 1024  # as on disk: how often a partial blob's map is made durable


@dataclass(frozen=True)
class StagedBytes:
    """Implements `storage.store.StagedBlob`."""

    blob: BlobId
    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data)


class Disk(Protocol):
    """The store that a partial blob belongs to."""

    _partials: dict[BlobId, MemoryPartial]

    def _must_have_room(self) -> None: ...

    def _keep_blob(self, blob: BlobId, data: bytes) -> None: ...


class MemoryPartial:
    """See `storage.store.PartialBlob`."""

    def __init__(self, store: Disk, blob: BlobId, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._store, self._blob = store, blob
        self._data = bytearray(size_bytes)
        self._cells = Cells(size_bytes)
        self._fresh: list[range] = []  # cells since the last sync
        self._fresh_bytes = 0
        self.has, self.missing = self._cells.has, self._cells.missing

    def write(self, offset: int, data: bytes) -> None:
        cells = self._cells.covered(offset, len(data))
        self._store._must_have_room()
        self._data[offset : offset + len(data)] = data
        self._cells.mark(cells)
        self._fresh.append(cells)
        self._fresh_bytes += len(data)
        if self._fresh_bytes >= SYNC_BYTES:
            self._fresh, self._fresh_bytes = [], 0

    def read(self, offset: int, length: int) -> bytes:
        if not self._cells.has(offset, length):
            raise ValueError(f"bytes {offset} to {offset + length} of the blob are not held")
        return bytes(self._data[offset : offset + length])

    def check(self) -> bool:
        if self._cells.missing_bytes():
            raise ValueError("the blob is not complete")
        return hashlib.sha256(self._data).digest() == self._blob

    def finish(self, right: bool | None = None) -> bool:
        if right is None:
            right = self.check()
        if right:
            self._store._keep_blob(self._blob, bytes(self._data))
        self._store._partials.pop(self._blob, None)
        return right

    def held_bytes(self) -> int:
        return self.size_bytes - self._cells.missing_bytes()

    def after_crash(self, lost: bool) -> MemoryPartial:
        """What the disk has after the crash; `lost` drops the cells written since the last sync."""
        left = MemoryPartial(self._store, self._blob, self.size_bytes)
        left._data = self._data
        left._cells.map[:] = self._cells.map
        if lost:
            for cells in self._fresh:
                left._cells.map[cells.start : cells.stop] = bytes(len(cells))
        return left
