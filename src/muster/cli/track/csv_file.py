"""A CSV file: a line of names, then a line a round, oldest first."""

from __future__ import annotations

import csv
import io

from muster.cli.track.append_file import AppendFile
from muster.errors import MusterError
from muster.node.api.rounds.schema import Round, Rounds

BEFORE = ("job", "round", "commit", "age_s")
AFTER = ("measured", "participants", "nodes", "shares", "steps", "examples", "bytes", "bytes_total", "kind")


class CsvFile:
    """`csv:FILE`. Between the columns `age_s` and `measured` stand the job's metrics, by name."""

    def __init__(self, place: str) -> None:
        self._file = AppendFile(place)
        self._columns: list[str] = []

    def resume(self, job: Rounds) -> tuple[str, int]:
        self._file.open()
        head = self._file.first_line().decode("utf-8", "replace")
        if not head:
            self._columns = [*BEFORE, *job.metrics, *AFTER]
            self._file.append(_line(self._columns))
            return "", 0
        self._columns = next(csv.reader([head]))
        if not {*BEFORE, *AFTER} <= set(self._columns):
            raise self._wrong("it does not begin with the columns of one")
        last = self._file.last_line().decode("utf-8", "replace")
        if last == head:
            return "", 0
        cells = dict(zip(self._columns, next(csv.reader([last])), strict=False))
        if not job.job.startswith(cells["job"]):
            raise self._wrong(f"it holds the job {cells['job']}")
        try:
            return cells["commit"], int(cells["round"])
        except (KeyError, ValueError):
            raise self._wrong("its last line is damaged") from None

    def _wrong(self, why: str) -> MusterError:
        return MusterError(
            "usage", f"{self._file.place} is no file for this job's rounds: {why}; choose another"
        )

    def write(self, job: Rounds, r: Round) -> None:
        row: dict[str, object] = {
            **r.metrics,
            "job": job.job[:8],
            "round": r.number,
            "commit": r.commit,
            "age_s": r.age_s,
            "measured": r.measured,
            "participants": len(r.contributions),
            "nodes": " ".join(r.participants),
            "shares": " ".join(f"{name}={part.share:.4f}" for name, part in r.contributions.items()),
            "steps": r.steps,
            "examples": r.examples,
            "bytes": r.bytes,
            "bytes_total": r.bytes_total,
            "kind": r.kind,
        }
        self._file.append(_line([row.get(column, "") for column in self._columns]))

    def close(self, job: Rounds) -> None:
        self._file.close()


def _line(cells: list[object] | list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
