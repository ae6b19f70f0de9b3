"""Files whose bytes are on the disk before anything refers to them: hashed and synced in one pass.

The bytes go to the disk piece by piece.  A file system that writes a file's data before its journal would
else make every small commit beside it wait for the whole file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from muster.protocol.ids import BlobId
from muster.storage.store import Buffer

PIECE_BYTES = 1 << 20  # written, hashed and synced at once


class StagedFile:
    """Implements `storage.store.StagedBlob`: a file that goes when it is forgotten and was not moved."""

    def __init__(self, blob: BlobId, path: Path) -> None:
        self.blob, self.path = blob, path
        self.size_bytes = path.stat().st_size
        self._removal = weakref.finalize(self, _remove, path)
        self._removal.atexit = False

    def __reduce__(self) -> tuple[Any, ...]:
        """A pickled one belongs to whoever reads the pickle, and is no longer this process's to delete."""
        self._removal.detach()
        return StagedFile, (self.blob, self.path)


def write_staged(path: Path, pieces: Iterable[Buffer]) -> BlobId:
    """Write a new file; its hash. Raises OSError, with nothing left behind."""
    sha = hashlib.sha256()
    try:
        with path.open("xb", buffering=0) as file:
            unsynced_bytes = 0
            for whole in pieces:
                view = memoryview(whole) if not len(whole) else memoryview(whole).cast("B")
                for start in range(0, len(view), PIECE_BYTES):
                    piece = view[start : start + PIECE_BYTES]
                    sha.update(piece)
                    while piece:
                        written = file.write(piece)
                        unsynced_bytes += written
                        piece = piece[written:]
                    if unsynced_bytes >= PIECE_BYTES:
                        os.fdatasync(file.fileno())
                        unsynced_bytes = 0
            os.fsync(file.fileno())
    except BaseException:
        _remove(path)
        raise
    return sha.digest()


def sync_file(path: Path) -> BlobId:
    """Sync a file that is there; its hash. Raises OSError."""
    sha = hashlib.sha256()
    buffer = bytearray(PIECE_BYTES)
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        while count := file.readinto(buffer):
            sha.update(memoryview(buffer)[:count])
    return sha.digest()


def write_zeros(path: Path, size_bytes: int) -> None:
    """Takes long. Raises OSError."""
    with path.open("wb", buffering=0) as file:
        for start in range(0, size_bytes, PIECE_BYTES):
            file.write(bytes(min(PIECE_BYTES, size_bytes - start)))


def fsync_dir(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
