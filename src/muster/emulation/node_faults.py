"""A node's full disk and wrong clock, for real processes and without any rights.

A full disk is a limit on how far files may grow (RLIMIT_FSIZE): what is there can be read and deleted, and a
write beyond the limit fails in the kernel, in the middle of whatever the program does.  It is a limit per
file, so with `free_bytes` over 0 many small files still fit.  A wrong clock is a file that the program's
environment names (see `muster.node.clock`); other programs do not look at it.
"""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path


def limit_files(session: int, size_bytes: int | None) -> None:
    """No file that a process of this session writes grows beyond `size_bytes`; None: no limit."""
    for pid in _members(session):
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            soft = hard if size_bytes is None else size_bytes
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def _members(session: int) -> list[int]:
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.getsid(int(entry)) == session:
                    found.append(int(entry))
    return found


def set_clock(path: Path, offset_s: float) -> None:
    """Whole or not at all: a program may read it at any instant."""
    aside = path.with_suffix(".new")
    aside.write_text(f"{offset_s!r}\n")
    aside.replace(path)
