"""A blob that is arriving, on disk: a sparse file and beside it the map of what has arrived.

The map is kept twice in its file.  The *live* copy is written after every piece, without fsync: after
`kill -9` the kernel still holds both it and the data, so nothing is fetched again.  The *synced* copy is
written after the data was fsynced, every `SYNC_BYTES` or as fast as the disk can: after a power cut (seen by
the kernel's boot id) only it is believed.  So the map may lag behind the data and is never ahead of it.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

from muster.protocol.ids import BlobId
from muster.storage.cells import Cells
from muster.storage.offload import Later
from muster.storage.staged import fsync_dir, sync_file

SYNC_BYTES = 256 * 1024  # so much, and what came during a sync, is fetched again after a power cut
_HEADER = struct.Struct("<4sQ36s")
_MAGIC = b"mpb1"


def boot_id() -> bytes:
    """Names this run of the kernel; 36 zeros where there is no such thing (then no live map is believed)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:36].ljust(36)
    except OSError:
        return b"0" * 36


def pwrite_all(descriptor: int, data: bytes | bytearray, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _pwrite(path: Path, data: bytes, offset: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        pwrite_all(descriptor, data, offset)
    finally:
        os.close(descriptor)


class DiskPartial:
    """See `storage.store.PartialBlob`. Raises OSError; the store turns it into StorageError.

    `adopt` moves the finished file into the store's blobs; `later` runs a sync, which takes a while on a busy
    disk.  A sync that failed is raised by the next write.
    """

    def __init__(
        self, folder: Path, blob: BlobId, size_bytes: int, adopt: Callable[[Path], None], later: Later
    ) -> None:
        self.size_bytes = size_bytes
        self._blob = blob
        self._data = folder / f"{blob.hex()}.data"
        self._map = folder / f"{blob.hex()}.map"
        self._adopt = adopt
        self._later = later
        self._written_bytes = self._synced_bytes = 0  # in this object's life
        self._syncing = self._gone = False
        self._fault: OSError | None = None
        held = self._load()
        self._cells = Cells(size_bytes, held)
        if held is None:
            self._create()

    def _load(self) -> bytes | None:
        """The map as it can be believed; None when there is no usable partial blob of this size."""
        try:
            raw = self._map.read_bytes()
            if self._data.stat().st_size != self.size_bytes:
                return None
        except FileNotFoundError:
            return None
        count = len(Cells(self.size_bytes).map)
        if len(raw) != _HEADER.size + 2 * count:
            return None
        magic, size_bytes, boot = _HEADER.unpack_from(raw)
        if magic != _MAGIC or size_bytes != self.size_bytes:
            return None
        same_boot = boot == boot_id() and boot != b"0" * 36
        start = _HEADER.size + (count if same_boot else 0)
        held = raw[start : start + count]
        if not same_boot:
            self._write_map(held, held)
        return held

    def _create(self) -> None:
        self.remove()
        try:
            with self._data.open("xb") as file:
                file.truncate(self.size_bytes)
            # not synced: with nothing held, nothing is lost
            self._map.write_bytes(self._header() + 2 * bytes(len(self._cells.map)))
        except OSError:
            self.remove()
            raise
        self._gone = False

    def _header(self) -> bytes:
        return _HEADER.pack(_MAGIC, self.size_bytes, boot_id())

    def _write_map(self, synced: bytes | bytearray, live: bytes | bytearray) -> None:
        temporary = self._map.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(self._header() + synced + live)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self._map)
        fsync_dir(self._map.parent)

    def has(self, offset: int, length: int) -> bool:
        return self._cells.has(offset, length)

    def missing(self) -> list[tuple[int, int]]:
        return self._cells.missing()

    def write(self, offset: int, data: bytes) -> None:
        """Only cells of 4096 bytes that `data` fills whole (or up to the blob's end) count as held."""
        cells = self._cells.covered(offset, len(data))
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        _pwrite(self._data, data, offset)
        self._cells.mark(cells)
        ones = b"\x01" * len(cells)
        _pwrite(self._map, ones, _HEADER.size + len(self._cells.map) + cells.start)
        self._written_bytes += len(data)
        if self._written_bytes - self._synced_bytes >= SYNC_BYTES and not self._syncing:
            self._syncing = True
            self._later(self._sync)

    def _sync(self) -> None:
        """Make what came durable, first the data and then the map of it. In any thread."""
        try:
            with self._data.open("rb") as data, self._map.open("r+b", buffering=0) as map_:
                if self._gone:  # the files may be another partial blob's by now
                    return
                written_bytes, held = self._written_bytes, bytes(self._cells.map)
                os.fdatasync(data.fileno())
                pwrite_all(map_.fileno(), held, _HEADER.size)
                os.fdatasync(map_.fileno())
                if not self._synced_bytes:
                    fsync_dir(self._map.parent)
                self._synced_bytes = written_bytes
        except FileNotFoundError:  # it has become a blob, or was deleted
            pass
        except OSError as error:
            self._fault = error
        finally:
            self._syncing = False

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that are held. Raises ValueError when some of them are not."""
        if not self._cells.has(offset, length):
            raise ValueError(f"bytes {offset} to {offset + length} of the blob are not held")
        descriptor = os.open(self._data, os.O_RDONLY)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)

    def check(self) -> bool:
        """When complete: whether the bytes have the right hash; they are synced then. In any thread."""
        if self._cells.missing_bytes():
            raise ValueError("the blob is not complete")
        return sync_file(self._data) == self._blob

    def finish(self, right: bool | None = None) -> bool:
        if right is None:
            right = self.check()
        if not right:
            self.remove()
            return False
        self._gone = True
        self._adopt(self._data)
        self._map.unlink(missing_ok=True)
        return True

    def drop(self) -> None:
        """Nothing is written to its files any more."""
        self._gone = True

    def remove(self) -> None:
        self._gone = True
        # the data first: a map without data is cleaned up, data that a stale map vouches for never exists
        for path in (self._data, self._map, self._map.with_suffix(".new")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
