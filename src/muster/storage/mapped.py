"""The blobs of a home as another process sees them: it reads mapped files and stages new ones, nothing else.

The daemon itself reads files into memory instead: where a disk fails under a mapped file, the process dies.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from muster.protocol.ids import BlobId
from muster.storage.files import BlobFiles, guarded
from muster.storage.staged import StagedFile
from muster.storage.store import Buffer


class MappedBlobs:
    """Implements `storage.store.Blobs`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._files = BlobFiles(home, lambda blob: None)

    def read_blob(self, blob: BlobId, offset: int = 0, length: int | None = None) -> memoryview:
        """Raises KeyError, ValueError, StorageError."""
        with guarded(self._home):
            try:
                whole = map_file(self._files.path(blob))
            except FileNotFoundError:
                raise KeyError(blob) from None
        end = len(whole) if length is None else offset + length
        if not 0 <= offset <= end <= len(whole):
            raise ValueError(f"bytes {offset} to {end} are outside a blob of {len(whole)}")
        return whole[offset:end]

    def stage(self, pieces: Iterable[Buffer]) -> StagedFile:
        return self._files.stage(pieces)


@cache
def mapped_blobs(home: Path) -> MappedBlobs:
    """The blobs of a home, once a process."""
    return MappedBlobs(home)


def map_file(path: Path) -> memoryview:
    """A file's bytes, read when they are looked at. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size_bytes = os.fstat(descriptor).st_size
        if not size_bytes:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, size_bytes, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
