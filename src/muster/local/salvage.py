"""A damaged file is set aside with its reason, and what can be read of it goes into a new one.

    TASK.sqlite.damaged      the damaged file (with -wal and -shm), the newest only
    TASK.sqlite.damaged.txt  what is wrong with it, and how much was saved

Labels, verdicts, alarms and snapshots are saved; unlabelled samples are not, they come again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from muster.local import database
from muster.local.database import LocalFault

SUFFIXES = ("", "-wal", "-shm")
TRIES = 2000  # places after which reading a table goes on, where pages are damaged


def set_aside(path: Path, inode: int, reason: str) -> None:
    """Put a new file in the place of the damaged one with this inode, unless another process has done so.

    Raises LocalFault where neither can be done.
    """
    aside = path.with_name(path.name + ".damaged")
    try:
        with database.locked(path):
            if inode_of(path) != inode:
                return
            fresh = path.with_name(path.name + ".new")
            for name in (aside, fresh):
                _remove(name)
            with _writers_out(path):
                for suffix in ("", "-wal"):  # copies: the file stays in its place until the new one is whole
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copyfile(_with(path, suffix), _with(aside, suffix))
                saved = _save(aside, fresh)
                text = f"{path} was damaged ({reason}): {saved} labelled samples of it were saved.\n"
                aside.with_name(aside.name + ".txt").write_text(text, "utf-8")
                for suffix in SUFFIXES[1:]:
                    _with(path, suffix).unlink(missing_ok=True)
                os.replace(fresh, path)
    except (OSError, sqlite3.Error, database.Damaged) as error:
        raise LocalFault(
            "home",
            f"the samples in {path} are damaged ({reason}) and cannot be set aside ({error}): move them away",
        ) from error


@contextlib.contextmanager
def _writers_out(path: Path) -> Iterator[None]:
    """Where the damage allows it, nobody adds to the old file; who does later sees that it was replaced."""
    with contextlib.closing(sqlite3.connect(path, database.BUSY_S, isolation_level=None)) as db:
        with contextlib.suppress(sqlite3.Error):
            db.execute("BEGIN IMMEDIATE")
        yield


def inode_of(path: Path) -> int:
    """0 where there is no file."""
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _save(aside: Path, fresh: Path) -> int:
    """What can be read of `aside` into `fresh`; how many labelled samples."""
    new = database.connected(fresh)
    saved = 0
    try:
        with (
            contextlib.closing(sqlite3.connect(aside)) as old,
            database.transaction(new, fresh, durable=True),
        ):
            for table in database.TABLES:
                saved = max(saved, _table(old, new, table))
            _numbers(new)
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        new.close()
    return saved


def _table(old: sqlite3.Connection, new: sqlite3.Connection, table: str) -> int:
    """Copy the rows of a table that can be read; how many labelled samples these are."""
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    with contextlib.suppress(sqlite3.Error):  # an older file has fewer
        had = {row[1] for row in old.execute(f"PRAGMA table_info({table})")}
        columns = [name for name in columns if name in had]
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    only = "AND label IS NOT NULL" if table == "sample" else ""
    wanted = f"SELECT rowid, {names} FROM {table} NOT INDEXED WHERE rowid > ? {only} ORDER BY rowid LIMIT 1"
    after, step, count = -1, 1, 0
    for _ in range(_rows_at_most(table)):
        try:
            row = old.execute(wanted, (after,)).fetchone()
        except (sqlite3.Error, OverflowError):
            after, step = after + step, step * 2
            if step > 1 << 40:
                break
            continue
        if row is None:
            break
        after, step = row[0], 1
        if table == "meta" and row[1] == "version":
            continue
        with contextlib.suppress(sqlite3.IntegrityError):
            new.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", row[1:])
            count += table == "sample"
    return count


def _rows_at_most(table: str) -> int:
    return 200_000 if table in ("sample", "verdict") else 10_000 + TRIES


def _numbers(new: sqlite3.Connection) -> None:
    """The set's numbers are at least what its rows say, where the table of numbers was lost."""
    for name, wanted in (
        (
            "serial",
            "SELECT max(serial) FROM (SELECT serial FROM sample UNION ALL SELECT serial FROM snapshot)",
        ),
        ("epoch", "SELECT max(epoch) FROM (SELECT epoch FROM sample UNION ALL SELECT epoch FROM alarm)"),
    ):
        found = new.execute(wanted).fetchone()[0] or 0
        database.put(new, name, max(database.get(new, name), found))


def _with(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _remove(path: Path) -> None:
    for suffix in SUFFIXES:
        _with(path, suffix).unlink(missing_ok=True)
