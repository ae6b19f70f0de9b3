"""Opens a home's database: SQLite with a write-ahead log, each commit synced (WAL, synchronous=FULL)."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from pathlib import Path
from urllib.parse import quote

from muster.errors import MusterError

FORMAT = 2
COPY_COMMITS = 40  # so often the log is copied into the database (`copy_log`), some hundred pages
LOG_ROOM_BYTES = 800_000  # that the log has from the beginning, enough for so many commits
LOG_PAGES_MAX = 4000  # of the log: then a commit itself copies it
_NAME = "store.sqlite"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE record (sequence INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL, job BLOB NOT NULL, wire BLOB NOT NULL, source BLOB NOT NULL);
CREATE INDEX record_kind_job ON record (kind, job);
CREATE TABLE state (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


def opened(home: Path) -> tuple[sqlite3.Connection, int]:
    """A home's database, made if there is none, and its incarnation. Raises MusterError, sqlite3.Error."""
    db = sqlite3.connect(home / _NAME, isolation_level=None)
    with contextlib.ExitStack() as undo:
        undo.callback(db.close)
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA cache_size=-1024")
        db.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES_MAX}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={FORMAT};COMMIT;")
        elif version != FORMAT:
            raise MusterError("home", _other_format(home, version))
        db.execute("INSERT OR IGNORE INTO meta VALUES ('incarnation', ?)", (secrets.randbits(31),))
        incarnation = db.execute("SELECT value FROM meta WHERE key = 'incarnation'").fetchone()[0]
        _make_room_in_log(db, home)
        undo.pop_all()
    return db, incarnation


def _other_format(home: Path, version: int) -> str:
    sentence = f"the store in {home} has format {version}, this node reads {FORMAT}"
    if version > FORMAT:
        return f"{sentence}: update muster"
    return f"{sentence}: move this directory away, and the node begins with an empty one"


def _make_room_in_log(db: sqlite3.Connection, home: Path) -> None:
    """Let the log's file grow once.

    To sync what replaces old bytes takes a fraction of the time that a growing file takes, for which the file
    system writes its journal, and others' data before it (ext4, beside a writer of 100 MB: 5.5 ms instead of
    20 in the median).
    """
    log = home / f"{_NAME}-wal"
    if log.exists() and log.stat().st_size >= LOG_ROOM_BYTES:
        return
    try:
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT OR REPLACE INTO state VALUES ('', zeroblob(?))", (LOG_ROOM_BYTES,))
        db.execute("DELETE FROM state WHERE key = ''")
        db.execute("COMMIT")
        db.execute("PRAGMA wal_checkpoint(RESTART)")
    except sqlite3.Error:  # a full disk: it grows later, or nothing is written at all
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")


def copy_log(home: Path) -> None:
    """Copy the log into the database, with a connection of its own; in any thread. It syncs both files."""
    with contextlib.suppress(sqlite3.Error):  # a commit does it then
        path = f"file:{quote(str(home / _NAME))}?mode=rw"
        with contextlib.closing(sqlite3.connect(path, uri=True)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
