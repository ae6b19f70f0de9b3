"""Where a local set is. Imports nothing, so that an idle daemon may ask."""

from __future__ import annotations

from pathlib import Path


def path_of(home: Path, task: str) -> Path:
    """Where a node with this home keeps the samples of a task."""
    return home / "local" / f"{task}.sqlite"
