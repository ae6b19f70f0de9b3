"""The local set of a task: what its model was asked here, which of it has labels, and how well it answered.

Several processes may have it open.  All methods raise LocalFault, and nothing else, when disk or file
fail; what returned before then is kept.  Each is one short transaction that blocks: call it off the loop.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from muster.errors import MusterError
from muster.local import database, keeping, raw, reading, salvage, writing
from muster.local.database import Damaged, LocalFault
from muster.local.limits import Limits
from muster.local.place import path_of as path_of
from muster.local.rows import Alarm, Answered, Label, Labelled, LocalCounts, Sample, Snapshot

T = TypeVar("T")
WHAT_CHARACTERS_MAX = 200
TRIES = 3  # of a transaction, with the file that took a damaged one's place


class LocalSet:
    """See the module.  `open` makes the file if there is none; `close` it, or use it in `with`."""

    def __init__(self, path: Path, limits: Limits, clock: Callable[[], float]) -> None:
        self._path, self._limits, self._clock = path, limits, clock
        self._mutex = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._second = (0, 0)  # the newest second of which answers were kept, and how many

    @classmethod
    def open(
        cls, path: Path, limits: Limits | None = None, clock: Callable[[], float] = time.time
    ) -> LocalSet:
        """`limits` None: those that the last one gave who gave some, as the server does."""
        made = cls(path, limits or Limits(), clock)
        kept = made._read(database.limits)
        if limits is None:
            made._limits = kept
        elif limits != kept:
            made._run(lambda db: database.put_limits(db, limits))
        return made

    def close(self) -> None:
        with self._mutex:
            self._closed()

    def __enter__(self) -> LocalSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # what comes in

    def add_answers(self, rows: Sequence[Answered]) -> list[int | None]:
        """Keep samples without labels; the id of each, None for one above `per_second` or too large.

        A key that a sample has already moves to the new one.  Not durable: a crash may lose the newest.
        """
        if database.free_bytes(self._path) < self._limits.free_bytes:
            raise LocalFault(
                "disk_full",
                f"the disk that holds {self._path} is almost full, so samples without labels are not kept: "
                "free some space",
            )
        ready = [(row, self._clock() if row.t is None else row.t, self._encoded(row)) for row in rows]

        def add(db: sqlite3.Connection) -> tuple[list[int | None], tuple[int, int]]:
            epoch, second, ids = database.get(db, "epoch"), self._second, list[int | None]()
            for row, t, data in ready:
                second = (int(t), second[1] if int(t) == second[0] else 0)
                if data is None or second[1] >= self._limits.per_second:
                    ids.append(None)
                    continue
                second = (second[0], second[1] + 1)
                ids.append(writing.insert(db, row, t, epoch, data))
            keeping.trim_ring(db, self._limits)
            return ids, second

        ids, self._second = self._run(add)
        return ids

    def label(self, key_or_id: str | int, label: Any, held: bool | None = None) -> bool:
        """Give a sample its label, or another one; False where no such sample is kept.

        Durable when it returns True.  `held`: whether it is held out from training; None: one in five.  By
        its id: somebody was shown it by `unlabelled`.  One that was chosen for its uncertainty is trained on
        and judges no model: a model is wrong there more often than it is.
        """
        label = _checked(label)

        def give(db: sqlite3.Connection) -> bool:
            row = writing.find(db, key_or_id)
            if row is None:
                return False
            chosen = writing.offered(db, row[0]) if isinstance(key_or_id, int) else keeping.PLAIN
            writing.give_label(db, row, label, _held_as(chosen, held), chosen, self._clock(), self._limits)
            return True

        return self._run(give, durable=True)

    def add_labelled(
        self,
        x: Any,
        label: Any,
        key: str | None = None,
        held: bool | None = None,
        answer: Label | None = None,
        version: str = "",
    ) -> int:
        """Keep a labelled sample, and return its id; a sample of that key gets the label instead. Durable.

        Raises MusterError("bad_data") for a sample that cannot be kept.
        """
        row = Answered(secrets.token_hex(8) if key is None else key, x, answer, None, version)
        return self._add_labelled([(row, label)], held)[0]

    def add_labelled_rows(self, rows: Sequence[tuple[Any, Any, str]]) -> list[int]:
        """The same for several (x, label, key): all of them, or none where one cannot be kept."""
        return self._add_labelled([(Answered(key, x, None, None, ""), label) for x, label, key in rows], None)

    def _add_labelled(self, rows: Sequence[tuple[Answered, Any]], held: bool | None) -> list[int]:
        size_max = self._limits.sample_bytes
        ready = [(row, raw.encode(row.x, size_max), _checked(label)) for row, label in rows]

        def add(db: sqlite3.Connection) -> list[int]:
            ids, now_s = [], self._clock()
            for row, data, label in ready:
                given = writing.find(db, row.key)
                if given is None:
                    id_ = writing.insert(db, row, now_s, database.get(db, "epoch"), data)
                    given = writing.find(db, id_)
                writing.give_label(db, given, label, held, keeping.PLAIN, now_s, self._limits)
                ids.append(int(given[0]))
            return ids

        return self._run(add, durable=True)

    def add_verdicts(self, rows: Iterable[tuple[int, str, bool]]) -> None:
        """(sample's id, version, whether its answer is right), for labelled samples that are still kept."""
        wanted = [(version, right, sample) for sample, version, right in rows]

        def add(db: sqlite3.Connection) -> None:
            db.executemany(
                "INSERT OR IGNORE INTO verdict SELECT id, ?, ?, serial, epoch, labelled_t FROM sample"
                f" WHERE id = ? AND label IS NOT NULL AND offered != {keeping.DOUBT}",
                wanted,
            )
            keeping.trim_others(db, database.get(db, "epoch"), database.get(db, "serial"))

        self._run(add)

    def alarm(self, z: float, what: str) -> int:
        """Conditions changed: begin a new epoch, and return its number. Durable."""

        def begin(db: sqlite3.Connection) -> int:
            epoch = database.get(db, "epoch") + 1
            database.put(db, "epoch", epoch)
            db.execute(
                "INSERT INTO alarm VALUES (?, ?, ?, ?)", (epoch, self._clock(), z, what[:WHAT_CHARACTERS_MAX])
            )
            keeping.trim_others(db, epoch, database.get(db, "serial"))
            return epoch

        return self._run(begin, durable=True)

    # what is asked

    def unlabelled(self, n: int, uncertain_first: bool = True) -> list[Sample]:
        """Up to `n` newest ones, or those of this epoch to ask a person about: give `label` their ids.

        The first 20 of an epoch are drawn at random, to see how good the model in use is there.  Then
        uncertain ones come first, and each fifth is drawn, to check the next model with (`Sample.hold`).
        """
        if not uncertain_first:
            return self._read(lambda db: reading.newest(db, n))

        def offer(db: sqlite3.Connection) -> list[Sample]:
            found, why = reading.to_ask(db, n)
            writing.offer(db, why)
            return found

        return self._run(offer)

    def labelled(self, held: bool | None = None, since_epoch: int | None = None) -> Labelled:
        """(x, y, ids), in the order in which they were labelled, all of the newest one's shape and dtype.

        `held` False: what may be trained on; True: the newest that are held out, by lot or because they
        were labelled since the last job's snapshot; None: both.
        """
        limit = self._limits.held_out if held else self._limits.labelled
        return self._read(lambda db: reading.labelled(db, held, since_epoch, limit))

    def unjudged(self, version: str, n: int, since_s: float = 0.0) -> list[Sample]:
        """The first `n` samples labelled at or after `since_s` (unix) without a verdict on `version`."""
        return self._read(lambda db: reading.unjudged(db, version, n, since_s))

    def verdicts(self, version: str, former: str, since_s: float = 0.0) -> list[tuple[bool, bool]]:
        """Whether `version` and `former` were right, of samples judged with both, in the order of labels."""
        wanted = (
            "SELECT a.right, b.right FROM verdict a JOIN verdict b ON a.sample = b.sample"
            " WHERE a.version = ? AND b.version = ? AND a.labelled_t >= ? ORDER BY a.serial"
        )
        rows = self._read(lambda db: db.execute(wanted, (version, former, since_s)).fetchall())
        return [(bool(one), bool(other)) for one, other in rows]

    def counts(self, version: str | None = None) -> LocalCounts:
        """How much is kept; right and wrong answers of `version`, or of what answered each sample first."""
        return self._read(lambda db: reading.counts(db, version))

    def alarms(self, n: int = 20) -> list[Alarm]:
        """The newest first."""
        wanted = "SELECT t, epoch, z, what FROM alarm ORDER BY epoch DESC LIMIT ?"
        return [Alarm(*row) for row in self._read(lambda db: db.execute(wanted, (n,)).fetchall())]

    # what a job trains on

    def snapshot(self, job: str) -> Snapshot:
        """What `job` trains on: the same whenever it is asked. Labels given from now on are held out."""

        def take(db: sqlite3.Connection) -> Snapshot:
            values = (job, self._clock(), database.get(db, "epoch"), database.get(db, "serial"))
            db.execute("INSERT OR IGNORE INTO snapshot VALUES (?, ?, ?, ?)", values)
            keeping.trim_others(db, values[2], values[3])
            epoch, serial = db.execute("SELECT epoch, serial FROM snapshot WHERE job = ?", (job,)).fetchone()
            limit = self._limits.labelled
            return Snapshot(
                job,
                epoch,
                new=reading.of_snapshot(db, (epoch, epoch), serial, False, limit),
                former=reading.of_snapshot(db, (0, epoch - 1), serial, False, limit),
                held=reading.of_snapshot(db, (epoch, epoch), serial, True, self._limits.held_out),
            )

        return self._run(take, durable=True)

    # within

    def _encoded(self, row: Answered) -> bytes | None:
        try:
            return raw.encode(row.x, self._limits.sample_bytes)
        except MusterError:
            return None

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return self._run(work, begin="DEFERRED")

    def _run(
        self, work: Callable[[sqlite3.Connection], T], durable: bool = False, begin: str = "IMMEDIATE"
    ) -> T:
        """`work` in a transaction on the file that is in its place then, whatever happened to it before."""
        with self._mutex:
            for tries_left in reversed(range(TRIES)):
                try:
                    db = self._current()
                    with database.transaction(db, self._path, durable, begin):
                        result = work(db)
                    if not durable or salvage.inode_of(self._path) == self._inode:
                        return result
                except Damaged as error:
                    broken = self._inode or salvage.inode_of(self._path)
                    self._closed()
                    if not tries_left:
                        sentence = f"the samples in {self._path} are damaged ({error})"
                        raise LocalFault("home", sentence) from error
                    salvage.set_aside(self._path, broken, str(error))
            raise LocalFault("home", f"the samples in {self._path} are replaced all the time: leave them")

    def _current(self) -> sqlite3.Connection:
        if self._db is not None and salvage.inode_of(self._path) != self._inode:
            self._closed()
        if self._db is None:
            self._db = database.opened(self._path)
            self._inode = salvage.inode_of(self._path)
        return self._db

    def _closed(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db, self._inode = None, 0


def _held_as(offered: int, held: bool | None) -> bool | None:
    """Whether an offered sample is held out, where the caller says nothing else."""
    if offered == keeping.DOUBT:
        return False
    return True if offered == keeping.DRAWN and held is None else held


def _checked(label: Any) -> Label:
    value = label.item() if hasattr(label, "item") else label  # of numpy
    if isinstance(value, bool) or not isinstance(value, int | float) or not -(2**53) < value < 2**53:
        raise MusterError("bad_data", f"{label!r} is no label: give the number of a class, or a value")
    return value
