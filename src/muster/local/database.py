"""The file of a local set: its tables, versions of them, transactions, and what goes wrong with a disk.

WAL, so that several processes read and one writes at a time; `durable` transactions are on the disk when they
return (synchronous=FULL), others after the next checkpoint or durable one, and never in halves.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import sqlite3
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from muster.errors import MusterError
from muster.local.limits import Limits

VERSION = 2
BUSY_S = 20.0  # how long one waits for another's transaction; each takes milliseconds
LOG_BYTES = 8_000_000  # to which the log is cut when it has been copied
PAGE_BYTES = 16_384

# Labels and answers have no type, so that 2.0 stays a value and 2 a class.  `serial` counts labels: their
# order.  `rank` is drawn at random; the reservoir drops the lowest.  `offered`:
# why a person was shown it (`keeping.DOUBT`, ...).
_TABLES = """
CREATE TABLE sample (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE, t REAL NOT NULL, epoch INTEGER NOT NULL,
    x BLOB NOT NULL, size INTEGER NOT NULL, label, answer, entropy REAL, version TEXT NOT NULL,
    held INTEGER NOT NULL DEFAULT 0, labelled_t REAL, serial INTEGER, rank REAL,
    offered INTEGER NOT NULL DEFAULT 0);
CREATE INDEX ring ON sample (id, size) WHERE label IS NULL;
CREATE INDEX doubt ON sample (entropy, id) WHERE label IS NULL;
CREATE INDEX labelled ON sample (serial, epoch, label, held, rank, size) WHERE label IS NOT NULL;
CREATE TABLE verdict (
    sample INTEGER NOT NULL, version TEXT NOT NULL, right INTEGER NOT NULL, serial INTEGER NOT NULL,
    epoch INTEGER NOT NULL, labelled_t REAL NOT NULL, UNIQUE (sample, version));
CREATE INDEX judged ON verdict (version, serial, sample, right, labelled_t);
CREATE TABLE alarm (epoch INTEGER PRIMARY KEY, t REAL NOT NULL, z REAL NOT NULL, what TEXT NOT NULL);
CREATE TABLE snapshot (
    job TEXT PRIMARY KEY, t REAL NOT NULL, epoch INTEGER NOT NULL, serial INTEGER NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""
TABLES = ("sample", "verdict", "alarm", "snapshot", "meta")
MIGRATIONS = {1: "ALTER TABLE sample ADD COLUMN offered INTEGER NOT NULL DEFAULT 0"}  # to the next version


class LocalFault(MusterError):
    """What a local set fails with, in one sentence; whatever was confirmed before is still in it."""


class Damaged(Exception):
    """The file is no database, or a damaged one."""


def opened(path: Path) -> sqlite3.Connection:
    """The database at `path`, made if there is none.  Raises LocalFault, Damaged."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            return connected(path)
    except OSError as error:
        raise LocalFault("home", f"the samples in {path} cannot be kept ({error.strerror})") from error


def connected(path: Path) -> sqlite3.Connection:
    """The same for who holds the lock."""
    new = not path.exists()
    with guarded(path):
        db = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        with guarded(path):
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
            with transaction(db, path, durable=True):
                _migrate(db, path)
        if new:
            _sync_folder(path.parent)
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]:
        for statement in filter(str.strip, _TABLES.split(";")):
            db.execute(statement)
        values = {"version": VERSION, "epoch": 0, "serial": 0, "seed": secrets.randbits(31)}
        db.executemany("INSERT INTO meta VALUES (?, ?)", values.items())
    version = get(db, "version")
    if version > VERSION:
        raise LocalFault("home", f"the samples in {path} were kept by a newer Muster: install that version")
    while version < VERSION:
        for statement in filter(str.strip, MIGRATIONS[version].split(";")):
            db.execute(statement)
        version += 1
        put(db, "version", version)


def get(db: sqlite3.Connection, name: str) -> int:
    """A number of the set.  Raises Damaged where it is lacking."""
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise Damaged(f"it lacks {name!r}")
    return int(row[0])


def put(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def limits(db: sqlite3.Connection) -> Limits:
    """Those that are kept, as a process that has no configuration needs them."""
    kept = dict(db.execute("SELECT name, value FROM meta").fetchall())
    names = (field.name for field in fields(Limits))
    return Limits(**{name: int(kept[f"limit {name}"]) for name in names if f"limit {name}" in kept})


def put_limits(db: sqlite3.Connection, given: Limits) -> None:
    for name, value in vars(given).items():
        put(db, f"limit {name}", value)


@contextlib.contextmanager
def transaction(
    db: sqlite3.Connection, path: Path, durable: bool = False, begin: str = "IMMEDIATE"
) -> Iterator[None]:
    """All or nothing; "DEFERRED" for one that only reads.  Raises LocalFault, Damaged."""
    with guarded(path):
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        db.execute(f"BEGIN {begin}")
    try:
        with guarded(path):
            yield
            db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            if db.in_transaction:
                db.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[None]:
    """What the database at `path` fails with becomes a LocalFault, or Damaged."""
    try:
        yield
    except sqlite3.Error as error:
        raise _fault(path, error) from error
    except OSError as error:
        raise LocalFault("home", f"the samples in {path} cannot be kept ({error.strerror})") from error


def _fault(path: Path, error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return Damaged(str(error))
    if code == sqlite3.SQLITE_ERROR and str(error).startswith(("no such", "table ", "index ")):
        return Damaged(str(error))  # a table or a column is lacking, or some tables are
    full = code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and free_bytes(path) < PAGE_BYTES
    if full or code == sqlite3.SQLITE_FULL:
        return LocalFault("disk_full", f"the disk that holds {path} is full: free some space")
    if code == sqlite3.SQLITE_BUSY:
        return LocalFault("home", f"the samples in {path} are in use by another process: try again")
    return LocalFault("home", f"the samples in {path} cannot be kept ({error}): check the disk")


def free_bytes(path: Path) -> int:
    """What the disk that holds `path` has free; 0 where the folder is gone."""
    try:
        room = os.statvfs(path.parent)
    except OSError:
        return 0
    return room.f_bavail * room.f_frsize


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else opens or sets aside the file meanwhile."""
    with open(path.with_name(path.name + ".lock"), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
