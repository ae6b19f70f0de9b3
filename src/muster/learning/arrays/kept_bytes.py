"""What an array task keeps of a job on its node: its own bytes in one file, written aside and moved."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SUFFIX = ".kept"
FILES_MAX = 64  # in one folder; the oldest make room


def load(path: Path) -> bytes:
    """What is kept beside `path`, under `SUFFIX`; empty where nothing is."""
    try:
        return path.with_suffix(SUFFIX).read_bytes()
    except OSError:
        return b""


def save(path: Path, data: bytes) -> None:
    """Keep `data` beside `path`; nothing of nothing. Raises OSError."""
    place = path.with_suffix(SUFFIX)
    if not data:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(place.name + ".part")
    try:
        part.write_bytes(data)
        os.replace(part, place)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    others = sorted(
        (p for p in place.parent.glob(f"*{SUFFIX}") if p != place), key=lambda p: p.stat().st_mtime
    )
    for old in others[: max(0, len(others) + 1 - FILES_MAX)]:
        old.unlink(missing_ok=True)
