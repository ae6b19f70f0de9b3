"""Rows that come into a local set; `local_set` writes them in transactions."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Mapping
from typing import Any

from muster.local import database, keeping
from muster.local.limits import Limits
from muster.local.rows import Answered, Label

KEY_CHARACTERS_MAX = 200


def find(db: sqlite3.Connection, key_or_id: str | int) -> Any:
    """(id, label, answer) of a sample, or None."""
    by = "key" if isinstance(key_or_id, str) else "id"
    value = key_or_id[:KEY_CHARACTERS_MAX] if isinstance(key_or_id, str) else key_or_id
    return db.execute(f"SELECT id, label, answer FROM sample WHERE {by} = ?", (value,)).fetchone()


def insert(db: sqlite3.Connection, row: Answered, t: float, epoch: int, data: bytes) -> int:
    """Add a sample without label, to which its key now belongs; its id."""
    key = row.key[:KEY_CHARACTERS_MAX]
    db.execute("UPDATE sample SET key = NULL WHERE key = ?", (key,))
    cursor = db.execute(
        "INSERT INTO sample (key, t, epoch, x, size, answer, entropy, version)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (key, t, epoch, data, len(data), row.answer, row.entropy, row.version),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def offer(db: sqlite3.Connection, why: Mapping[int, int]) -> None:
    """Note why people are shown these samples."""
    db.executemany(
        "UPDATE sample SET offered = ? WHERE id = ?", ((reason, id_) for id_, reason in why.items())
    )


def offered(db: sqlite3.Connection, id_: int) -> int:
    """Why somebody was shown a sample."""
    return int(db.execute("SELECT offered FROM sample WHERE id = ?", (id_,)).fetchone()[0])


def give_label(
    db: sqlite3.Connection,
    row: Any,
    label: Label,
    held: bool | None,
    offered: int,
    now_s: float,
    limits: Limits,
) -> None:
    """Set the label of a row of `find`; where a model answered with a class, that is a verdict on it, unless
    the sample was offered for the model's doubt."""
    id_, former, answer = row
    if former is not None:
        db.execute("UPDATE sample SET label = ? WHERE id = ?", (label, id_))
        db.execute("DELETE FROM verdict WHERE sample = ?", (id_,))
    else:
        serial = database.get(db, "serial") + 1
        database.put(db, "serial", serial)
        out = keeping.held_out(database.get(db, "seed"), serial) if held is None else held
        db.execute(
            "UPDATE sample SET label = ?, held = ?, labelled_t = ?, serial = ?, rank = ?, offered = ?"
            " WHERE id = ?",
            (label, out, now_s, serial, random.random(), offered, id_),
        )
        keeping.trim_labelled(db, limits, database.get(db, "epoch"), serial)
    if isinstance(answer, int) and isinstance(label, int):
        db.execute(
            "INSERT OR IGNORE INTO verdict SELECT id, version, answer = label, serial, epoch, labelled_t"
            " FROM sample WHERE id = ? AND offered != ?",
            (id_, keeping.DOUBT),
        )
