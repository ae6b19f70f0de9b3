"""A text file that grows by whole lines, by one writer; a line that a crash cut off is taken away again."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import BinaryIO

from muster.errors import MusterError

BLOCK_BYTES = 64 * 1024
LINE_BYTES_MAX = 1024 * 1024
STDOUT = "-"


class AppendFile:
    """The file at `place`; "-" is standard output, which holds nothing.

    Raises MusterError: usage, disk_full.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Open the file, make it if need be, and cut off what is no whole line."""
        if self.place == STDOUT:
            self._file = sys.stdout.buffer
            return
        path = Path(self.place).expanduser()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise MusterError("usage", f"{path} cannot be written: {error.strerror or error}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise MusterError(
                "usage", f"another process writes {path}: end it, or choose another file"
            ) from None
        self._file = file
        tail = self._tail()
        if tail and not tail.endswith(b"\n"):
            os.ftruncate(file.fileno(), file.seek(0, os.SEEK_END) - len(tail.rpartition(b"\n")[2]))

    def first_line(self) -> bytes:
        """Without its end; b"" when there is none."""
        if self._file is None or self.place == STDOUT:
            return b""
        self._file.seek(0)
        return self._file.read(LINE_BYTES_MAX).partition(b"\n")[0]

    def last_line(self) -> bytes:
        """Without its end; b"" when there is none."""
        return self._tail().rstrip(b"\n").rpartition(b"\n")[2]

    def _tail(self) -> bytes:
        """The last line and what stands before it, as far as it was read."""
        if self._file is None or self.place == STDOUT:
            return b""
        end = start = self._file.seek(0, os.SEEK_END)
        tail = b""
        while start and b"\n" not in tail.rstrip(b"\n") and end - start < LINE_BYTES_MAX:
            start = max(0, start - BLOCK_BYTES)
            self._file.seek(start)
            tail = self._file.read(end - start)
        return tail

    def append(self, text: str) -> None:
        """Add whole lines: all of them, or none."""
        file, data = self._file, text.encode()
        assert file is not None
        if self.place == STDOUT:
            file.write(data)
            file.flush()
            return
        end = file.seek(0, os.SEEK_END)
        try:
            done = 0
            while done < len(data):
                done += file.write(data[done:])
        except OSError as error:
            os.ftruncate(file.fileno(), end)
            raise MusterError(
                "disk_full", f"{self.place} cannot be written: {error.strerror or error}"
            ) from error

    def close(self) -> None:
        if self._file is not None and self.place != STDOUT:
            self._file.close()
        self._file = None
