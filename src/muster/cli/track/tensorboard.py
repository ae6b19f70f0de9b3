"""TensorBoard: a run for each job in a directory, `TASK-JOB`, with the round as step."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import BinaryIO

from muster.cli.track.event_file import Event, encode, header, read
from muster.cli.track.target import curves, directory, made_s
from muster.errors import MusterError
from muster.node.api.rounds.schema import Round, Rounds

COMMIT = "commit"  # the text by which a round is known again
FILE_BYTES_MAX = 1024 * 1024 * 1024


class TensorBoard:
    """`tensorboard:DIR`; look at it with `tensorboard --logdir DIR`."""

    def __init__(self, place: str) -> None:
        self._place = Path(place)
        self._folder = self._place
        self._file: BinaryIO | None = None
        self._fresh = False

    def resume(self, job: Rounds) -> tuple[str, int]:
        self._folder = directory(self._place / f"{job.task}-{job.job[:8]}")
        last = ("", 0)
        for path in sorted(self._folder.glob("events.out.tfevents.*")):
            try:
                if path.stat().st_size > FILE_BYTES_MAX:
                    continue
                for event in read(path.read_bytes()):
                    if COMMIT in event.texts:
                        last = (event.texts[COMMIT], event.step)
            except OSError as error:
                raise MusterError("usage", f"{path} cannot be read: {error.strerror or error}") from error
        self._fresh = last == ("", 0)
        return last

    def write(self, job: Rounds, r: Round) -> None:
        now_s = time.time()
        data = encode(Event(made_s(job, r, now_s), r.number, curves(r), {COMMIT: r.commit}))
        file = self._file or self._begin(job, now_s)
        end = file.tell()
        try:
            file.write(data)
        except OSError as error:
            os.ftruncate(file.fileno(), end)
            raise MusterError(
                "disk_full", f"{self._folder} cannot be written: {error.strerror or error}"
            ) from error

    def _begin(self, job: Rounds, now_s: float) -> BinaryIO:
        """A file of this process: what a crash cut off in another one stays there."""
        name = f"events.out.tfevents.{now_s:.6f}.{socket.gethostname()}.{os.getpid()}.muster"
        try:
            file = (self._folder / name).open("wb", buffering=0)
            file.write(header(now_s))
            if self._fresh:
                file.write(encode(Event(now_s, 0, {}, {"recipe": _table(job)})))
        except OSError as error:
            raise MusterError(
                "usage", f"{self._folder} cannot be written: {error.strerror or error}"
            ) from error
        self._file = file
        return file

    def close(self, job: Rounds) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _table(job: Rounds) -> str:
    """The recipe as the Markdown that the text plugin shows."""
    rows = [("job", job.job), ("task", job.task), *job.recipe.items()]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
