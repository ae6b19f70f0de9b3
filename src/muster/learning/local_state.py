"""What a node keeps of a job for itself, in one file: optimisers' state, tensors that never leave it, and how
far a stream was read.

The file is written aside and moved into place, so that a crash leaves the old or the new one; it is read
with weights only, so that nothing in it is run.  One that cannot be read is as good as none.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import torch

FILES_MAX = 64  # in one folder; the oldest make room

LocalState = dict[str, Any]  # "optimizers", "shape" (of their model), "tensors" (by name), "place"


def load(path: Path | None) -> LocalState:
    """What is kept at `path`; empty where nothing is, or nothing that can be read."""
    if path is None or not path.is_file():
        return {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # bytes that were changed make the reader fail in any manner
        return {}
    return found if isinstance(found, dict) else {}


def place_of(state: LocalState) -> list[int]:
    """Where a stream goes on (`Source.tell`): at its beginning, unless the state says where."""
    place = state.get("place")
    fits = isinstance(place, list) and len(place) == 2 and all(isinstance(n, int) and n >= 0 for n in place)
    return list(place) if fits and place is not None else [0, 0]


def save(path: Path | None, state: LocalState) -> None:
    """Keep `state`, synced; an empty one removes the file. Raises OSError."""
    if path is None:
        return
    kept = {key: value for key, value in state.items() if value}
    if not kept:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            torch.save(kept, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _make_room(path)


def _make_room(newest: Path) -> None:
    def age(path: Path) -> float:
        return path.stat().st_mtime

    files = sorted((p for p in newest.parent.glob(f"*{newest.suffix}") if p != newest), key=age)
    for path in files[: max(0, len(files) + 1 - FILES_MAX)]:
        path.unlink(missing_ok=True)
