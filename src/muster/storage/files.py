"""Blobs as files, named by the SHA-256 of their bytes; written aside, synced, renamed.

    home/blobs/aa/<hex>    finished blobs
    home/staged/           files that are whole and synced, and no blobs yet
    home/partial/          blobs that are arriving, see `partial`
    home/tmp/              files being written; emptied at open

A staged file's name is synced, too, so that to make it a blob takes a rename and no sync.  A power cut may
undo that rename: what then lies in `staged` from an earlier run of the kernel becomes a blob at open.

Nothing here knows of transactions: it calls `placed` for each blob that is new.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from muster.protocol.ids import BlobId
from muster.storage.offload import Later, at_once
from muster.storage.partial import DiskPartial, boot_id
from muster.storage.staged import StagedFile, fsync_dir, sync_file, write_staged
from muster.storage.store import Buffer, DiskFull, StorageError

LARGE_BYTES = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: a limit on the size of files

NO_BOOT = "0" * 8  # where the kernel's runs have no names: any may be another one
PAGE_BYTES = 16_384  # the smallest step in which the database's log grows, and some


@contextlib.contextmanager
def guarded(home: Path) -> Iterator[None]:
    """What the disk or the database that hold `home` fail with becomes a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(f"the disk that holds {home} is full: free some space") from error
        raise StorageError(f"the disk that holds {home} fails: {error.strerror}") from error
    except sqlite3.Error as error:
        raise database_error(home, error) from error


def database_error(home: Path, error: sqlite3.Error) -> StorageError:
    """What the database fails with, as a sentence that says what to do."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension
    if code == sqlite3.SQLITE_FULL or (
        code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _full(home)
    ):
        return DiskFull(f"the disk that holds {home} is full: free some space")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StorageError(
            f"the store in {home} is damaged ({error}): check the disk, move store.sqlite* in it away and "
            "start again; records and models come back from the other nodes"
        )
    return StorageError(f"the store in {home} fails ({error}): check the disk")


def _full(home: Path) -> bool:
    """Whether the disk has no room for a page."""
    room = os.statvfs(home)
    return room.f_bavail * room.f_frsize < PAGE_BYTES


class BlobFiles:
    """Keeps the blobs of one home.

    A missing blob raises KeyError, bytes outside a blob ValueError, a disk that fails StorageError.
    """

    def __init__(self, home: Path, placed: Callable[[BlobId], None], later: Later = at_once) -> None:
        """`later` runs what takes a while on a busy disk. Raises OSError."""
        self._home, self._placed, self._later = home, placed, later
        self._blobs, self._incoming = home / "blobs", home / "partial"
        self._tmp, self._staged = home / "tmp", home / "staged"
        self._partials: weakref.WeakValueDictionary[BlobId, GuardedPartial] = weakref.WeakValueDictionary()
        self._used_bytes: int | None = None
        self._numbers = itertools.count()  # of staged files
        for folder in (self._blobs, self._incoming, self._tmp, self._staged):
            folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """Remove what a killed process left half-written. Raises OSError."""
        for entry in self._tmp.iterdir():
            entry.unlink(missing_ok=True)  # a node that is ending may be at it, too
        for entry in self._incoming.iterdir():
            twin = entry.with_suffix(".map" if entry.suffix == ".data" else ".data")
            if entry.suffix not in (".map", ".data") or not twin.exists():
                entry.unlink()
        for entry in self._staged.iterdir():
            hashed, boot = entry.name.partition(".")[0], entry.suffix[1:]
            if boot != _boot_tag() or boot == NO_BOOT:
                self._rename(entry, bytes.fromhex(hashed))
            else:
                entry.unlink()

    def path(self, blob: BlobId) -> Path:
        """Where a blob is or would be."""
        name = blob.hex()
        return self._blobs / name[:2] / name

    def has(self, blob: BlobId) -> bool:
        return self.path(blob).exists()

    def size(self, blob: BlobId) -> int | None:
        try:
            return self.path(blob).stat().st_size
        except FileNotFoundError:
            return None

    def put(self, data: bytes) -> BlobId:
        blob = hashlib.sha256(data).digest()
        return blob if self.has(blob) else self.place(self.stage((data,)))

    def stage(self, pieces: Iterable[Buffer]) -> StagedFile:
        """Write a blob aside, hashed and synced. In any thread."""
        path = self._tmp / f"{os.getpid()}.{next(self._numbers)}"
        with guarded(self._home):
            return self._aside(path, write_staged(path, pieces))

    def stage_file(self, path: Path) -> StagedFile:
        """The same for a finished file, which is there no more. In any thread."""
        with guarded(self._home):
            return self._aside(path, sync_file(path))

    def _aside(self, path: Path, blob: BlobId) -> StagedFile:
        """Give a synced file a name in `staged` that is durable. Raises OSError, with nothing left behind."""
        name = f"{blob.hex()}.{os.getpid()}-{next(self._numbers)}.{_boot_tag()}"
        try:
            staged = StagedFile(blob, path.rename(self._staged / name))
        except OSError:
            _unlink(path)
            raise
        fsync_dir(self._staged)
        return staged

    def place(self, staged: StagedFile) -> BlobId:
        """Make what was staged a blob."""
        blob = staged.blob
        if not self.has(blob):
            with guarded(self._home):
                self._rename(staged.path, blob)
        return blob

    def _rename(self, path: Path, blob: BlobId) -> None:
        """Make the file at `path` the blob: its bytes are on the disk already."""
        target = self.path(blob)
        if target.exists():
            path.unlink()
            return
        size_bytes = path.stat().st_size
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        self._drop_partial(blob)
        self._placed(blob)
        if self._used_bytes is not None:
            self._used_bytes += size_bytes

    def read(self, blob: BlobId, offset: int = 0, length: int | None = None) -> bytes:
        with guarded(self._home):
            try:
                descriptor = os.open(self.path(blob), os.O_RDONLY)
            except FileNotFoundError:
                raise KeyError(blob) from None
            try:
                size_bytes = os.fstat(descriptor).st_size
                wanted = size_bytes - offset if length is None else length
                if offset < 0 or wanted < 0 or offset + wanted > size_bytes:
                    raise ValueError(f"{wanted} bytes at {offset} are outside a blob of {size_bytes}")
                pieces = []
                while wanted:  # one pread gives at most 2 GiB
                    piece = os.pread(descriptor, wanted, offset)
                    pieces.append(piece)
                    offset, wanted = offset + len(piece), wanted - len(piece)
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)
            finally:
                os.close(descriptor)

    def sound(self, blob: BlobId) -> bool:
        """Whether the file has the hash that it is named by; one that cannot be read has not."""
        try:
            with self.path(blob).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest() == blob
        except FileNotFoundError:
            raise KeyError(blob) from None
        except OSError:  # a sector that is gone
            return False

    def partial(self, blob: BlobId, size_bytes: int) -> GuardedPartial:
        """The one partial blob of this id; one that was begun with another size starts afresh."""
        known = self._partials.get(blob)
        if known is not None and known.size_bytes == size_bytes:
            return known
        with guarded(self._home):
            inner = DiskPartial(
                self._incoming, blob, size_bytes, lambda path: self._adopt(path, blob), self._later
            )
        partial = GuardedPartial(self._home, inner, lambda: self._partials.pop(blob, None))
        self._partials[blob] = partial
        return partial

    def _adopt(self, path: Path, blob: BlobId) -> None:
        """Make a partial blob's file the blob; a power cut in the next moment may bring back the partial
        one, or nothing, and it is fetched again."""
        self._rename(path, blob)
        self._later(lambda: _sync_dir(self.path(blob).parent))

    def unlink(self, blob: BlobId) -> None:
        """Delete a blob, whole or partial, if it is there."""
        size_bytes = self.size(blob)
        with guarded(self._home):
            if size_bytes is not None:
                self._remove(self.path(blob), size_bytes)
            self._drop_partial(blob)
        if self._used_bytes is not None and size_bytes is not None:
            self._used_bytes -= size_bytes

    def _remove(self, path: Path, size_bytes: int) -> None:
        """Large files take a while to delete: out of sight now, deleted later."""
        if size_bytes >= LARGE_BYTES:
            gone = self._tmp / f"{os.getpid()}.{next(self._numbers)}"
            with contextlib.suppress(OSError):  # a full disk may have no room for the other name
                path.rename(gone)
                self._later(lambda: _unlink(gone))
                return
        path.unlink(missing_ok=True)

    def _drop_partial(self, blob: BlobId) -> None:
        dropped = self._partials.pop(blob, None)
        if dropped is not None:
            dropped.drop()
        for suffix in ("data", "map"):
            (self._incoming / f"{blob.hex()}.{suffix}").unlink(missing_ok=True)

    def all(self) -> Iterator[tuple[BlobId, int]]:
        """Ids and sizes, sorted by id."""
        for folder in sorted(self._blobs.iterdir()):
            for entry in sorted(folder.iterdir()):
                size_bytes = self.size(blob := bytes.fromhex(entry.name))
                if size_bytes is not None:
                    yield blob, size_bytes

    def used_bytes(self) -> int:
        """Whole and partial blobs; the whole ones are counted once, then kept up."""
        if self._used_bytes is None:
            self._used_bytes = sum(size_bytes for _, size_bytes in self.all())
        return self._used_bytes + sum(entry.stat().st_blocks * 512 for entry in self._incoming.iterdir())


def _boot_tag() -> str:
    """Names this run of the kernel in a file's name."""
    return boot_id()[:8].decode("ascii").strip()


def _sync_dir(path: Path) -> None:
    with contextlib.suppress(OSError):
        fsync_dir(path)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


class GuardedPartial:
    """A `DiskPartial` whose OSErrors become the store's StorageError."""

    def __init__(self, home: Path, inner: DiskPartial, forget: Callable[[], object]) -> None:
        self.size_bytes = inner.size_bytes
        self._home, self._inner, self._forget = home, inner, forget
        self.has, self.missing = inner.has, inner.missing

    def drop(self) -> None:
        """Its files are another's from now on, or nobody's."""
        self._inner.drop()

    def write(self, offset: int, data: bytes) -> None:
        with guarded(self._home):
            self._inner.write(offset, data)

    def read(self, offset: int, length: int) -> bytes:
        with guarded(self._home):
            return self._inner.read(offset, length)

    def check(self) -> bool:
        with guarded(self._home):
            return self._inner.check()

    def finish(self, right: bool | None = None) -> bool:
        with guarded(self._home):
            right = self._inner.finish(right)
        self._forget()
        return right
