"""Puts models into use and takes them out again: files first, each synced before the pointer names it."""

from __future__ import annotations

from pathlib import Path

from muster.node.field.looking import SEPARATOR
from muster.node.field.workshop import Candidate
from muster.serving import pointer
from muster.serving.paths import folder_of
from muster.serving.pointer import Served


def put(home: Path, task: str, candidate: Candidate, kind: str, sentence: str) -> Served:
    """Put a candidate into use; what the pointer says then. Takes long. Raises MusterError."""
    return pointer.use_model(
        folder_of(home, task), candidate.version, candidate.file, candidate.sketch,
        f"{kind}{SEPARATOR}{sentence}", candidate.parameters,
    )  # fmt: skip


def go_back(home: Path, task: str, kind: str, sentence: str) -> Served:
    """Have the former model in use again. Takes long. Raises MusterError."""
    return pointer.go_back(folder_of(home, task), f"{kind}{SEPARATOR}{sentence}")
