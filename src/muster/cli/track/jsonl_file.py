"""A file of JSON lines: an object a round, oldest first."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from muster.cli.track.append_file import AppendFile
from muster.errors import MusterError
from muster.node.api.rounds.schema import Round, Rounds


class JsonlFile:
    """`jsonl:FILE`. The fields of a `Round` with `job` and `task`; `number` as `round`, no `settled`."""

    def __init__(self, place: str) -> None:
        self._file = AppendFile(place)

    def resume(self, job: Rounds) -> tuple[str, int]:
        self._file.open()
        last = self._file.last_line()
        if not last:
            return "", 0
        try:
            row = json.loads(last)
            its_job, commit, number = str(row["job"]), str(row["commit"]), int(row["round"])
        except (ValueError, KeyError, TypeError):
            raise self._wrong("its last line is none that this command wrote") from None
        if its_job != job.job:
            raise self._wrong(f"it holds the job {its_job[:8]}")
        return commit, number

    def _wrong(self, why: str) -> MusterError:
        return MusterError(
            "usage", f"{self._file.place} is no file for this job's rounds: {why}; choose another"
        )

    def write(self, job: Rounds, r: Round) -> None:
        self._file.append(json.dumps(_row(job, r)) + "\n")

    def close(self, job: Rounds) -> None:
        self._file.close()


def _row(job: Rounds, r: Round) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(r)
    del row["settled"]
    return {"job": job.job, "task": job.task, "round": row.pop("number"), **row}
