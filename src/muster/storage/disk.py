"""The store on disk: records and small state in SQLite (WAL, synchronous=FULL), blobs as files.

    home/lock              held by the one daemon that uses this home
    home/store.sqlite      records, state, the incarnation
    home/blobs/aa/<hex>    finished blobs, named by their SHA-256; written aside, fsynced, renamed
    home/partial/          blobs on their way in, see `partial`
    home/tmp/              files being written; emptied at open

Nothing is cached in memory but the maps of partial blobs in use, so memory does not grow with the number
of records or blobs.  Not for more than one thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from muster.errors import MusterError
from muster.records import BlobId, JobId, NodeId, RecordId
from muster.storage.partial import DiskPartial, fsync_dir, hash_file
from muster.storage.store import StorageError, StoredRecord

FORMAT = 1
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE record (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL, job BLOB NOT NULL, wire BLOB NOT NULL, source BLOB NOT NULL);
CREATE INDEX record_kind_job ON record (kind, job);
CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the last: a limit on the size of files
_COLUMNS = "SELECT sequence, id, kind, job, wire, source FROM record"


class DiskStore:
    """See `storage.store.Store`.

    Raises MusterError("home") when `home` cannot be used or another daemon uses it, MusterError("disk_full")
    when there is no room for an empty store, StorageError for every failed call later on.
    A missing blob raises KeyError, bytes outside a blob ValueError.
    """

    incarnation: int

    def __init__(self, home: Path) -> None:
        self._home = home
        self._blobs, self._incoming, self._tmp = home / "blobs", home / "partial", home / "tmp"
        self._partials: weakref.WeakValueDictionary[BlobId, _GuardedPartial] = weakref.WeakValueDictionary()
        self._depth = 0
        self._spoilt = False
        self._put_here: list[BlobId] = []
        self._delete_later: list[BlobId] = []
        self._used_bytes: int | None = None
        self._lock = -1
        try:
            for folder in (home, self._blobs, self._incoming, self._tmp):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(home)
            self._clean()
            self._db = sqlite3.connect(home / "store.sqlite", isolation_level=None)
            self._open_database()
        except OSError as error:
            self._unlock()
            code = "disk_full" if error.errno in _FULL else "home"
            raise MusterError(
                code, f"the home directory {home} cannot be used ({error.strerror}): free or choose another"
            ) from error
        except sqlite3.Error as error:
            self._unlock()
            raise MusterError(
                "home", f"the store in {home} cannot be opened ({error}): check the disk, or use another home"
            ) from error
        except MusterError:
            self._unlock()
            raise

    def _open_database(self) -> None:
        db = self._db
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-1024")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={FORMAT};COMMIT;")
        elif version != FORMAT:
            sentence = f"the store in {self._home} has format {version}, this node reads {FORMAT}"
            raise MusterError("home", f"{sentence}: update muster")
        db.execute("INSERT OR IGNORE INTO meta VALUES ('incarnation', ?)", (secrets.randbits(31),))
        self.incarnation = db.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()[0]

    def _clean(self) -> None:
        """Remove what a killed process left half-written."""
        for entry in self._tmp.iterdir():
            entry.unlink()
        for entry in self._incoming.iterdir():
            twin = entry.with_suffix(".map" if entry.suffix == ".data" else ".data")
            if entry.suffix not in (".map", ".data") or not twin.exists():
                entry.unlink()

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        self._db.close()
        self._unlock()

    # transactions

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. An inner one joins the outer one; never `await` inside.

        A blob is durable from `put_blob` on, whatever becomes of the transaction after a crash: it is
        named by its content, so nobody refers to it by mistake.  `delete_blob` takes effect at the end.
        """
        if self._depth:
            try:
                yield
            except BaseException:
                self._spoilt = True  # an outer one that swallows this must not commit half of it
                raise
            return
        with self._guard():
            self._db.execute("BEGIN IMMEDIATE")
        self._depth, self._spoilt = 1, False
        try:
            yield
            if self._spoilt:
                raise StorageError("a part of this transaction failed, so all of it was undone: try again")
            with self._guard():
                self._db.execute("COMMIT")
        except BaseException:
            self._depth = 0
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            for blob in self._put_here:
                self._unlink(blob)
            raise
        else:
            self._depth = 0
            for blob in self._delete_later:
                self._unlink(blob)
        finally:
            self._depth = 0
            self._put_here, self._delete_later = [], []

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StorageError(f"the disk that holds {self._home} is full: free some space") from error
            raise StorageError(f"the disk that holds {self._home} fails: {error.strerror}") from error
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StorageError(f"the disk that holds {self._home} is full: free some space") from error
            raise StorageError(f"the store in {self._home} fails ({error}): check the disk") from error

    # records

    def add(self, record_id: RecordId, kind: str, job: JobId, wire: bytes, source: NodeId) -> int | None:
        with self._guard():
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO record (id, kind, job, wire, source) VALUES (?, ?, ?, ?, ?)",
                (record_id, kind, job, wire, source),
            )
            return cursor.lastrowid if cursor.rowcount == 1 else None

    def _rows(self, clause: str, *values: object) -> list[StoredRecord]:
        with self._guard():
            return [StoredRecord(*row) for row in self._db.execute(f"{_COLUMNS} {clause}", values)]

    def get(self, record_id: RecordId) -> StoredRecord | None:
        rows = self._rows("WHERE id = ?", record_id)
        return rows[0] if rows else None

    def find(self, prefix: bytes) -> list[RecordId]:
        """Sorted; at most 100 (more than one is ambiguous anyway)."""
        with self._guard():
            rows = self._db.execute(
                "SELECT id FROM record WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 100",
                (prefix, prefix + b"\xff" * 32),
            )
            return [row[0] for row in rows]

    def since(self, sequence: int, limit: int) -> list[StoredRecord]:
        return self._rows("WHERE sequence > ? ORDER BY sequence LIMIT ?", sequence, limit)

    def last_sequence(self) -> int:
        with self._guard():
            return int(self._db.execute("SELECT COALESCE(MAX(sequence), 0) FROM record").fetchone()[0])

    def select(self, kind: str, job: JobId | None = None) -> list[StoredRecord]:
        if job is None:
            return self._rows("WHERE kind = ? ORDER BY sequence", kind)
        return self._rows("WHERE kind = ? AND job = ? ORDER BY sequence", kind, job)

    # state

    def state(self, key: str) -> bytes | None:
        with self._guard():
            row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_state(self, key: str, value: bytes | None) -> None:
        with self._guard():
            if value is None:
                self._db.execute("DELETE FROM state WHERE key = ?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))

    # blobs

    def _path(self, blob: BlobId) -> Path:
        name = blob.hex()
        return self._blobs / name[:2] / name

    def has_blob(self, blob: BlobId) -> bool:
        return self._path(blob).exists()

    def blob_size(self, blob: BlobId) -> int | None:
        try:
            return self._path(blob).stat().st_size
        except FileNotFoundError:
            return None

    def put_blob(self, data: bytes) -> BlobId:
        blob = hashlib.sha256(data).digest()
        if blob in self._delete_later:
            self._delete_later.remove(blob)
        if self.has_blob(blob):
            return blob
        temporary = self._tmp / f"{blob.hex()}.put"
        with self._guard():
            try:
                with temporary.open("wb") as file:
                    file.write(data)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            self._place(temporary, blob)
        return blob

    def adopt_blob(self, path: Path) -> BlobId:
        with self._guard():
            blob = hash_file(path)
            if blob in self._delete_later:
                self._delete_later.remove(blob)
            if self.has_blob(blob):
                path.unlink()
            else:
                self._place(path, blob)
        return blob

    def _place(self, path: Path, blob: BlobId) -> None:
        """Make the file at `path` the blob: its bytes are on the disk before its name is."""
        target = self._path(blob)
        if target.exists():
            path.unlink()
            return
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            size_bytes = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if not target.parent.exists():
            target.parent.mkdir(exist_ok=True)
            fsync_dir(self._blobs)
        path.rename(target)
        fsync_dir(target.parent)
        self._drop_partial(blob)
        if self._depth:
            self._put_here.append(blob)
        if self._used_bytes is not None:
            self._used_bytes += size_bytes

    def read_blob(self, blob: BlobId, offset: int = 0, length: int | None = None) -> bytes:
        with self._guard():
            try:
                descriptor = os.open(self._path(blob), os.O_RDONLY)
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

    def blob_path(self, blob: BlobId) -> Path:
        path = self._path(blob)
        if not path.exists():
            raise KeyError(blob)
        return path

    def partial(self, blob: BlobId, size_bytes: int) -> _GuardedPartial:
        """The one partial blob of this id; one that was begun with another size starts afresh."""
        known = self._partials.get(blob)
        if known is not None and known.size_bytes == size_bytes:
            return known
        with self._guard():
            inner = DiskPartial(self._incoming, blob, size_bytes, lambda path: self._place(path, blob))
        partial = _GuardedPartial(inner, self._guard, lambda: self._partials.pop(blob, None))
        self._partials[blob] = partial
        return partial

    def delete_blob(self, blob: BlobId) -> None:
        if self._depth:
            self._delete_later.append(blob)
        else:
            self._unlink(blob)

    def _unlink(self, blob: BlobId) -> None:
        size_bytes = self.blob_size(blob)
        with self._guard():
            self._path(blob).unlink(missing_ok=True)
            self._drop_partial(blob)
        if self._used_bytes is not None and size_bytes is not None:
            self._used_bytes -= size_bytes

    def _drop_partial(self, blob: BlobId) -> None:
        self._partials.pop(blob, None)
        for suffix in ("data", "map"):
            (self._incoming / f"{blob.hex()}.{suffix}").unlink(missing_ok=True)

    def blobs(self) -> Iterator[tuple[BlobId, int]]:
        for folder in sorted(self._blobs.iterdir()):
            for entry in sorted(folder.iterdir()):
                size_bytes = self.blob_size(blob := bytes.fromhex(entry.name))
                if size_bytes is not None:
                    yield blob, size_bytes

    def used_bytes(self) -> int:
        """Blobs (whole and partial) and the database; the blobs are counted once, then kept up."""
        if self._used_bytes is None:
            self._used_bytes = sum(size_bytes for _, size_bytes in self.blobs())
        partial_bytes = sum(entry.stat().st_blocks * 512 for entry in self._incoming.iterdir())
        database_bytes = sum(entry.stat().st_size for entry in self._home.glob("store.sqlite*"))
        return self._used_bytes + partial_bytes + database_bytes


class _GuardedPartial:
    """A `DiskPartial` whose OSErrors become the store's StorageError."""

    def __init__(
        self,
        inner: DiskPartial,
        guard: Callable[[], contextlib.AbstractContextManager[None]],
        forget: Callable[[], object],
    ) -> None:
        self.size_bytes = inner.size_bytes
        self._inner, self._guard, self._forget = inner, guard, forget
        self.has, self.missing = inner.has, inner.missing

    def write(self, offset: int, data: bytes) -> None:
        with self._guard():
            self._inner.write(offset, data)

    def read(self, offset: int, length: int) -> bytes:
        with self._guard():
            return self._inner.read(offset, length)

    def finish(self) -> bool:
        with self._guard():
            right = self._inner.finish()
        self._forget()
        return right


def _lock(home: Path) -> int:
    """The descriptor of the locked lock file; the lock goes with the process, however it ends."""
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise MusterError(
            "home", f"another muster node (process {holder}) uses {home}: stop it or choose another home"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
