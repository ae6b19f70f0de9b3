"""A folder into which people and programs put labelled samples:

    DIR/CLASS/file.png (.jpg, .npy)   one sample each, labelled by its folder
    DIR/file.csv                      rows, with a column `label`

What was taken in is moved to DIR/done, once it is durable; what is wrong to DIR/refused, with a sentence in a
text beside it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from muster.errors import MusterError
from muster.local import reading_files
from muster.local.form import Form
from muster.local.local_set import LocalSet
from muster.local.rows import Label
from muster.local.writing import KEY_CHARACTERS_MAX

DONE, REFUSED = "done", "refused"
AT_ONCE = 8  # files in one look
LOOKED_AT_MAX = 20_000
UNFINISHED = (".part", ".tmp", ".crdownload", ".partial")
SAMPLES = (*reading_files.PICTURES, ".npy")
PLACES_MAX = 1000  # names tried for a file that is there already


@dataclass(frozen=True)
class Taken:
    """What one look did."""

    labels: int = 0
    refused: tuple[str, ...] = ()  # sentences
    more: bool = False  # other files wait


class Inbox:
    """Looks at one folder. A file is taken when it has not changed since the look before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, tuple[int, int]] = {}  # path -> size and time of change

    def look(self, local: LocalSet, form: Form) -> Taken:
        """Take in some files. Raises MusterError: LocalFault, "home" (the folder), "usage" (no Pillow)."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            ready, self._seen = self._ready()
            labels, refused = 0, []
            for path in ready[:AT_ONCE]:
                try:
                    labels += _take(local, form, path, self._folder)
                except _Wrong as wrong:
                    refused.append(self._refuse(path, str(wrong)))
                else:
                    self._move(path, DONE)
        except OSError as error:
            raise MusterError(
                "home", f"the inbox {self._folder} cannot be used ({error.strerror}): see who may write there"
            ) from error
        return Taken(labels, tuple(refused), len(ready) > AT_ONCE)

    def _ready(self) -> tuple[list[Path], dict[str, tuple[int, int]]]:
        """Files that did not change since the last look, and what all are like now."""
        ready, now = [], dict[str, tuple[int, int]]()
        for path in _files(self._folder):
            with contextlib.suppress(FileNotFoundError):
                found = path.lstat()
                if not stat.S_ISREG(found.st_mode):
                    continue
                now[str(path)] = like = (found.st_size, found.st_mtime_ns)
                if self._seen.get(str(path)) == like:
                    ready.append(path)
        return sorted(ready), now

    def _refuse(self, path: Path, why: str) -> str:
        place = path.relative_to(self._folder)
        moved = self._move(path, REFUSED)
        moved.with_name(moved.name + ".txt").write_text(f"{why}\n", "utf-8")
        return f"{place} is refused: {why}"

    def _move(self, path: Path, where: str) -> Path:
        target = self._folder / where / path.relative_to(self._folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        for number in range(1, PLACES_MAX):
            free = target if number == 1 else target.with_name(f"{target.stem}-{number}{target.suffix}")
            if not free.exists() or number == PLACES_MAX - 1:
                os.replace(path, free)
                return free
        raise AssertionError("the last place is taken in any case")


class _Wrong(Exception):
    """A file that is refused: why, as a sentence."""


def _files(folder: Path) -> Iterator[Path]:
    """What lies in the folder and in those of classes, but for hidden files and unfinished ones."""
    count = 0
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        inside = [Path(entry.path)]
        if entry.is_dir(follow_symlinks=False):
            if entry.name in (DONE, REFUSED):
                continue
            inside = [Path(one.path) for one in os.scandir(entry.path) if not one.name.startswith(".")]
        for path in inside:
            count += 1
            if count > LOOKED_AT_MAX:
                return
            if path.suffix.lower() not in UNFINISHED:
                yield path


def _take(local: LocalSet, form: Form, path: Path, folder: Path) -> int:
    """Label what is in a file; how many samples.  Raises _Wrong, MusterError, OSError."""
    if path.stat().st_size > reading_files.FILE_BYTES_MAX:
        raise _Wrong(f"it is larger than {reading_files.FILE_BYTES_MAX // 1_000_000} MB")
    data = path.read_bytes()
    try:
        rows = _rows(data, path, path.parent == folder, form)
    except MusterError as error:
        if error.code == "usage":  # Pillow is lacking: not the file's fault
            raise
        raise _Wrong(error.sentence) from error
    key = f"inbox:{hashlib.sha256(data).hexdigest()[:32]}"  # a crash before the move takes it in once
    local.add_labelled_rows(
        [(x, label, f"{key}:{i}"[:KEY_CHARACTERS_MAX]) for i, (x, label) in enumerate(rows)]
    )
    return len(rows)


def _rows(data: bytes, path: Path, at_top: bool, form: Form) -> list[tuple[NDArray[Any], Label]]:
    kind = path.suffix.lower()
    if at_top:
        if kind != ".csv":
            raise MusterError("bad_data", "it lies in no folder of a class, and is no .csv table")
        return reading_files.table(data, form)
    label = form.label(path.parent.name)
    if kind not in SAMPLES:
        raise MusterError("bad_data", f"it is no sample: give {', '.join(SAMPLES)}")
    read = reading_files.array if kind == ".npy" else reading_files.picture
    return [(read(data, form), label)]
