"""Which samples are kept, and which of the labelled ones are held out from training."""

from __future__ import annotations

import random
import sqlite3

from muster.local.limits import Limits

HELD_EVERY = 5
PLAIN, DOUBT, DRAWN = (
    0,
    1,
    2,
)  # why a person is shown a sample: no reason, its uncertainty, by lot to check with
COMPARED_MIN = 20  # labels of an epoch that say how good the model is there, before any are chosen for doubt
ALARMS_MAX = 1000
SNAPSHOTS_MAX = 100
VERDICTS_MAX = 20_000

# Classes have cells of their own, all other values one; an epoch's labels do not compete with former ones.
_LARGEST_CELL = """
SELECT epoch = :epoch, CASE WHEN typeof(label) = 'integer' THEN label END
FROM sample INDEXED BY labelled WHERE label IS NOT NULL AND serial <= :old
GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2 LIMIT 1"""
_LOWEST_RANK = """
SELECT id FROM sample INDEXED BY labelled
WHERE label IS NOT NULL AND serial <= :old AND (epoch = :epoch) = :current
  AND CASE WHEN typeof(label) = 'integer' THEN label END IS :label
ORDER BY rank LIMIT 1"""


def held_out(seed: int, serial: int) -> bool:
    """One label of each five in a row, drawn from `seed`, so that labels in turns are held out alike."""
    block, place = divmod(serial - 1, HELD_EVERY)
    return random.Random(f"{seed}:{block}").randrange(HELD_EVERY) == place


def trim_ring(db: sqlite3.Connection, limits: Limits) -> None:
    """Drop the oldest unlabelled samples that are too many or too large together."""
    kept = db.execute(
        "SELECT id, size FROM sample INDEXED BY ring WHERE label IS NULL ORDER BY id DESC"
    ).fetchall()
    size = 0
    for place, (_, one) in enumerate(kept):
        size += one
        if place >= limits.unlabelled or size > limits.unlabelled_bytes:
            db.execute("DELETE FROM sample WHERE label IS NULL AND id <= ?", (kept[place][0],))
            return


def trim_labelled(db: sqlite3.Connection, limits: Limits, epoch: int, serial: int) -> None:
    """Drop labelled samples while there are too many: of the largest class that with the lowest rank.

    The ranks are random, so what stays of a class is drawn evenly from all its labels (a reservoir).  The
    newest labels stay in any case, to be judged and held out.
    """
    counted = "SELECT count(*), total(size) FROM sample INDEXED BY labelled WHERE label IS NOT NULL"
    number, size = db.execute(counted).fetchone()
    named = {"epoch": epoch, "old": serial - min(limits.held_out, limits.labelled // 4)}
    while number > limits.labelled or size > limits.labelled_bytes:
        cell = db.execute(_LARGEST_CELL, named).fetchone()
        if cell is None:
            named["old"] = serial - 1  # large samples: the newest but one may go, too
            cell = db.execute(_LARGEST_CELL, named).fetchone()
            if cell is None:
                return
        dropped = db.execute(_LOWEST_RANK, {**named, "current": cell[0], "label": cell[1]}).fetchone()[0]
        db.execute("DELETE FROM sample WHERE id = ?", (dropped,))
        number, size = db.execute(counted).fetchone()


def trim_others(db: sqlite3.Connection, epoch: int, serial: int) -> None:
    """Drop the oldest alarms, snapshots and verdicts."""
    db.execute("DELETE FROM alarm WHERE epoch <= ?", (epoch - ALARMS_MAX,))
    db.execute("DELETE FROM snapshot WHERE rowid <= (SELECT max(rowid) FROM snapshot) - ?", (SNAPSHOTS_MAX,))
    db.execute("DELETE FROM verdict WHERE rowid <= (SELECT max(rowid) FROM verdict) - ?", (VERDICTS_MAX,))
