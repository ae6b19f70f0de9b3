"""The store on disk: records and small state in SQLite (WAL, synchronous=FULL), blobs as files (`files`).

    home/lock                   held by the one daemon that uses this home
    home/store.sqlite           records, state, the incarnation
    home/blobs, partial, tmp    see `files`

Only the maps of partial blobs in use are kept in memory, so it does not grow with the number of records or
blobs.  Use it from one thread, but for what `storage.store` says.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from muster.errors import MusterError
from muster.protocol.ids import BlobId, JobId, NodeId, RecordId
from muster.storage import database
from muster.storage.files import FULL, BlobFiles, GuardedPartial, database_error, guarded
from muster.storage.mapped import mapped_blobs
from muster.storage.offload import Later, at_once
from muster.storage.staged import StagedFile
from muster.storage.store import Buffer, StagedBlob, StorageError, StoredRecord

_COLUMNS = "SELECT sequence, id, kind, job, wire, source FROM record"


class DiskStore:
    """See `storage.store.Store`.

    Raises MusterError("home") when `home` cannot be used or another daemon uses it, MusterError("disk_full")
    when there is no room for an empty store, StorageError for every failed call later on.
    A missing blob raises KeyError, bytes outside a blob ValueError.
    """

    incarnation: int

    def __init__(self, home: Path, later: Later = at_once) -> None:
        """`later` runs what takes a while on a busy disk, in one other thread."""
        self._home = home
        self._later = later
        self._depth = 0
        self._commits = 0  # since the log was last copied into the database
        self._spoilt = False
        self._put_here: list[BlobId] = []
        self._delete_later: list[BlobId] = []
        self._lock = -1
        try:
            self._files = BlobFiles(home, self._placed, later)
            self._lock = _lock(home)
            self._files.clean()
            self._db, self.incarnation = database.opened(home)
        except OSError as error:
            self._unlock()
            code = "disk_full" if error.errno in FULL else "home"
            raise MusterError(
                code, f"the home directory {home} cannot be used ({error.strerror}): free or choose another"
            ) from error
        except sqlite3.Error as error:
            self._unlock()
            fault = database_error(home, error)
            raise MusterError(fault.code, str(fault)) from error
        except MusterError:
            self._unlock()
            raise

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        self._db.close()
        self._unlock()

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process it is its blobs (`storage.store.Blobs`)."""
        return mapped_blobs, (self._home,)

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
        with guarded(self._home):
            self._db.execute("BEGIN IMMEDIATE")
        self._depth, self._spoilt = 1, False
        try:
            yield
            if self._spoilt:
                raise StorageError("a part of this transaction failed, so all of it was undone: try again")
            with guarded(self._home):
                self._db.execute("COMMIT")
        except BaseException:
            self._depth = 0
            with contextlib.suppress(sqlite3.Error):
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
            for blob in self._put_here:
                self._files.unlink(blob)
            raise
        else:
            self._depth = 0
            self._committed()
            for blob in self._delete_later:
                self._files.unlink(blob)
        finally:
            self._depth = 0
            self._put_here, self._delete_later = [], []

    def _committed(self) -> None:
        """Have the log copied into the database now and then, in the other thread: it syncs both."""
        if self._depth:
            return
        self._commits += 1
        if self._commits >= database.COPY_COMMITS:
            self._commits = 0
            self._later(lambda: database.copy_log(self._home))

    # records

    def add(self, record_id: RecordId, kind: str, job: JobId, wire: bytes, source: NodeId) -> int | None:
        with guarded(self._home):
            cursor = self._db.execute(
                "INSERT OR IGNORE INTO record (id, kind, job, wire, source) VALUES (?, ?, ?, ?, ?)",
                (record_id, kind, job, wire, source),
            )
            if cursor.rowcount != 1:
                return None
        self._committed()
        return cursor.lastrowid

    def _rows(self, clause: str, *values: object) -> list[StoredRecord]:
        with guarded(self._home):
            return [StoredRecord(*row) for row in self._db.execute(f"{_COLUMNS} {clause}", values)]

    def get(self, record_id: RecordId) -> StoredRecord | None:
        rows = self._rows("WHERE id = ?", record_id)
        return rows[0] if rows else None

    def rename(self, record_id: RecordId, kind: str, job: JobId) -> None:
        with guarded(self._home):
            self._db.execute("UPDATE record SET kind = ?, job = ? WHERE id = ?", (kind, job, record_id))
        self._committed()

    def find(self, prefix: bytes) -> list[RecordId]:
        """Sorted; at most 100 (more than one is ambiguous anyway)."""
        with guarded(self._home):
            rows = self._db.execute(
                "SELECT id FROM record WHERE id BETWEEN ? AND ? ORDER BY id LIMIT 100",
                (prefix, prefix + b"\xff" * 32),
            )
            return [row[0] for row in rows]

    def since(self, sequence: int, limit: int) -> list[StoredRecord]:
        return self._rows("WHERE sequence > ? ORDER BY sequence LIMIT ?", sequence, limit)

    def last_sequence(self) -> int:
        with guarded(self._home):
            return int(self._db.execute("SELECT COALESCE(MAX(sequence), 0) FROM record").fetchone()[0])

    def remove(self, record_ids: Sequence[RecordId]) -> None:
        with self.transaction(), guarded(self._home):
            self._db.executemany("DELETE FROM record WHERE id = ?", [(i,) for i in record_ids])

    def select(
        self, kind: str, job: JobId | None = None, after: int = 0, limit: int | None = None
    ) -> list[StoredRecord]:
        of_job, values = ("", ()) if job is None else ("AND job = ? ", (job,))
        clause = f"WHERE kind = ? {of_job}AND sequence > ? ORDER BY sequence LIMIT ?"
        return self._rows(clause, kind, *values, after, -1 if limit is None else limit)

    # state

    def state(self, key: str) -> bytes | None:
        with guarded(self._home):
            row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def set_state(self, key: str, value: bytes | None) -> None:
        with guarded(self._home):
            if value is None:
                self._db.execute("DELETE FROM state WHERE key = ?", (key,))
            else:
                self._db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))
        self._committed()

    def note_state(self, key: str, value: bytes | None) -> None:
        if self._depth:
            self.set_state(key, value)
            return
        with guarded(self._home):
            self._db.execute("PRAGMA synchronous=NORMAL")
        try:
            self.set_state(key, value)
        finally:
            with guarded(self._home):
                self._db.execute("PRAGMA synchronous=FULL")

    # blobs

    def has_blob(self, blob: BlobId) -> bool:
        return self._files.has(blob)

    def blob_size(self, blob: BlobId) -> int | None:
        return self._files.size(blob)

    def put_blob(self, data: bytes) -> BlobId:
        return self._kept(self._files.put(data))

    def adopt_blob(self, path: Path) -> BlobId:
        return self.put_staged(self.stage_file(path))

    def stage(self, pieces: Iterable[Buffer]) -> StagedFile:
        return self._files.stage(pieces)

    def stage_file(self, path: Path) -> StagedFile:
        return self._files.stage_file(path)

    def put_staged(self, staged: StagedBlob) -> BlobId:
        assert isinstance(staged, StagedFile)
        return self._kept(self._files.place(staged))

    def _kept(self, blob: BlobId) -> BlobId:
        """What is put again is not deleted at the transaction's end."""
        if blob in self._delete_later:
            self._delete_later.remove(blob)
        return blob

    def _placed(self, blob: BlobId) -> None:
        if self._depth:
            self._put_here.append(blob)

    def read_blob(self, blob: BlobId, offset: int = 0, length: int | None = None) -> bytes:
        return self._files.read(blob, offset, length)

    def sound(self, blob: BlobId) -> bool:
        return self._files.sound(blob)

    def blob_path(self, blob: BlobId) -> Path:
        path = self._files.path(blob)
        if not path.exists():
            raise KeyError(blob)
        return path

    def partial(self, blob: BlobId, size_bytes: int) -> GuardedPartial:
        """The one partial blob of this id; one that was begun with another size starts afresh."""
        return self._files.partial(blob, size_bytes)

    def delete_blob(self, blob: BlobId) -> None:
        if self._depth:
            self._delete_later.append(blob)
        else:
            self._files.unlink(blob)

    def blobs(self) -> Iterator[tuple[BlobId, int]]:
        return self._files.all()

    def used_bytes(self) -> int:
        """Blobs (whole and partial) and the database."""
        database_bytes = sum(entry.stat().st_size for entry in self._home.glob("store.sqlite*"))
        return self._files.used_bytes() + database_bytes


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
