"""Questions to a local set, as SQL; `local_set` runs them in transactions."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from muster.local import database, raw
from muster.local.keeping import COMPARED_MIN, DOUBT, DRAWN, HELD_EVERY, PLAIN
from muster.local.rows import NONE, Labelled, LocalCounts, Sample

_SAMPLE = "SELECT id, key, t, epoch, x, label, answer, entropy, version FROM sample"
_HELD = f"(held OR (serial > :since_snapshot AND offered != {DOUBT}))"
NEWEST = 100  # samples that tell of conditions as they are now
NO_SNAPSHOT = (1 << 62) - 1


def samples(rows: Iterable[tuple[Any, ...]], hold: frozenset[int] = frozenset()) -> list[Sample]:
    """Rows of `_SAMPLE`; those whose bytes are no sample are left out."""
    found = []
    for id_, key, t, epoch, data, label, answer, entropy, version in rows:
        try:
            x = raw.decode(data)
        except ValueError:
            continue
        found.append(Sample(id_, key or "", t, epoch, x, label, answer, entropy, version, id_ in hold))
    return found


def newest(db: sqlite3.Connection, n: int) -> list[Sample]:
    """Without labels."""
    return samples(db.execute(f"{_SAMPLE} WHERE label IS NULL ORDER BY id DESC LIMIT ?", (n,)))


def to_ask(db: sqlite3.Connection, n: int) -> tuple[list[Sample], dict[int, int]]:
    """Samples without labels to ask a person about, and why each is among them.

    They are of this epoch, as far as it has any.  As long as too few labels say how good the model in use is,
    they are drawn by lot; then the uncertain ones come first, and each fifth is drawn.
    """
    epoch = database.get(db, "epoch")
    wanted = "SELECT id FROM sample INDEXED BY ring WHERE label IS NULL"
    ids = [row[0] for row in db.execute(f"{wanted} AND epoch = ?", (epoch,))]
    if not ids:
        ids = [row[0] for row in db.execute(wanted)]
    compared = db.execute("SELECT count(DISTINCT sample) FROM verdict WHERE epoch = ?", (epoch,)).fetchone()[
        0
    ]
    drawn = random.Random(f"{epoch}:{len(ids)}").sample(ids, min(len(ids), n))
    if compared < COMPARED_MIN:
        return _in_order(db, drawn), dict.fromkeys(drawn, PLAIN)
    drawn = drawn[: -(-n // HELD_EVERY)]
    doubted = db.execute(
        "SELECT id FROM sample INDEXED BY doubt WHERE label IS NULL ORDER BY entropy DESC, id DESC"
    )
    among = set(ids) - set(drawn)
    doubtful = [row[0] for row in doubted if row[0] in among][:n]
    order: list[int] = []
    for place in range(n):
        by_lot = place % HELD_EVERY == HELD_EVERY - 1 or not doubtful
        source = drawn if drawn and by_lot else doubtful
        if source:
            order.append(source.pop(0))
    why = {id_: DOUBT if id_ in among else DRAWN for id_ in order}
    return _in_order(db, order, frozenset(id_ for id_ in order if why[id_] == DRAWN)), why


def _in_order(db: sqlite3.Connection, ids: Sequence[int], hold: frozenset[int] = frozenset()) -> list[Sample]:
    by_id = {s.id: s for s in samples(_by_ids(db, ids), hold)}
    return [by_id[i] for i in ids if i in by_id]


def labelled(db: sqlite3.Connection, held: bool | None, since_epoch: int | None, limit: int) -> Labelled:
    """Of the newest `limit` that fit; all have the shape of the newest of them."""
    where = {None: "", True: f"AND {_HELD}", False: f"AND NOT {_HELD}"}[held]
    named = {"since_snapshot": _since_snapshot(db), "low": since_epoch or 0}
    return _labelled(db, f"{where} AND epoch >= :low", named, limit)


def of_snapshot(
    db: sqlite3.Connection, epochs: tuple[int, int], serial: int, held: bool, limit: int
) -> Labelled:
    """Of the labels until `serial` in these epochs, what may be trained on, or what is held out by lot."""
    where = f"AND {'held' if held else 'NOT held'} AND serial <= :serial AND epoch BETWEEN :low AND :high"
    return _labelled(db, where, {"serial": serial, "low": epochs[0], "high": epochs[1]}, limit)


def unjudged(db: sqlite3.Connection, version: str, n: int, since_s: float) -> list[Sample]:
    rows = db.execute(
        f"{_SAMPLE} WHERE label IS NOT NULL AND labelled_t >= ? AND offered != {DOUBT} AND NOT EXISTS"
        " (SELECT 1 FROM verdict WHERE verdict.sample = sample.id AND verdict.version = ?)"
        " ORDER BY serial LIMIT ?",
        (since_s, version, n),
    )
    return samples(rows)


def counts(db: sqlite3.Connection, version: str | None) -> LocalCounts:
    epoch = database.get(db, "epoch")
    unlabelled_n, unlabelled_bytes = db.execute(
        "SELECT count(*), total(size) FROM sample INDEXED BY ring WHERE label IS NULL"
    ).fetchone()
    labelled_n, held, here, size, here_held = db.execute(
        f"SELECT count(*), total({_HELD}), total(epoch = :epoch), total(size),"
        f" total({_HELD} AND epoch = :epoch) FROM sample INDEXED BY labelled WHERE label IS NOT NULL",
        {"since_snapshot": _since_snapshot(db), "epoch": epoch},
    ).fetchone()
    which = "rowid IN (SELECT min(rowid) FROM verdict GROUP BY sample)" if version is None else "version = :v"
    judged = db.execute(
        "SELECT total(epoch = :epoch), total(epoch = :epoch AND NOT right), total(epoch < :epoch),"
        f" total(epoch < :epoch AND NOT right) FROM verdict WHERE {which}",
        {"epoch": epoch, "v": version},
    ).fetchone()
    labels, wrong, labels_before, wrong_before = (int(number) for number in judged)
    newest = db.execute(
        "SELECT total(epoch = ?) FROM (SELECT epoch FROM sample ORDER BY id DESC LIMIT ?)", (epoch, NEWEST)
    ).fetchone()[0]
    return LocalCounts(
        unlabelled_n,
        labelled_n,
        int(held),
        epoch,
        int(here),
        labels,
        wrong,
        labels_before,
        wrong_before,
        int(unlabelled_bytes + size),
        int(here_held),
        int(newest),
    )


def together(found: Sequence[Sample]) -> Labelled:
    """Labelled samples as arrays: those that have the shape and dtype of the last."""
    if not found:
        return NONE
    last = found[-1].x
    alike = [s for s in found if s.x.shape == last.shape and s.x.dtype == last.dtype]
    labels = [s.label for s in alike]
    dtype = np.int64 if all(isinstance(label, int) for label in labels) else np.float32
    return Labelled(np.stack([s.x for s in alike]), np.array(labels, dtype), tuple(s.id for s in alike))


def _labelled(db: sqlite3.Connection, where: str, named: dict[str, int], limit: int) -> Labelled:
    rows = db.execute(
        f"SELECT id FROM sample INDEXED BY labelled WHERE label IS NOT NULL {where}"
        f" ORDER BY serial DESC LIMIT {limit}",
        named,
    ).fetchall()
    return together(samples(_by_ids(db, [row[0] for row in reversed(rows)])))


def _by_ids(db: sqlite3.Connection, ids: Sequence[int]) -> list[tuple[Any, ...]]:
    rows = (db.execute(f"{_SAMPLE} WHERE id = ?", (id_,)).fetchone() for id_ in ids)
    return [row for row in rows if row is not None]


def _since_snapshot(db: sqlite3.Connection) -> int:
    newest = db.execute("SELECT max(serial) FROM snapshot").fetchone()[0]
    return NO_SNAPSHOT if newest is None else int(newest)
