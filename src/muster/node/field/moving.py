"""Puts models into use and takes them out again: files first, each synced before the pointer names it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from muster.errors import MusterError
from muster.node.field.looking import SEPARATOR
from muster.node.field.workshop import Candidate
from muster.serving import pointer
from muster.serving.paths import folder_of, models_of
from muster.serving.pointer import Served
from muster.storage.files import FULL
from muster.storage.staged import PIECE_BYTES, fsync_dir, write_staged

PARAMETERS = ".safetensors"


def put(home: Path, task: str, candidate: Candidate, kind: str, sentence: str) -> Served:
    """Put a candidate into use; what the pointer says then. Takes long. Raises MusterError."""
    folder = folder_of(home, task)
    _keep_parameters(folder, candidate)
    served = pointer.use_model(
        folder, candidate.version, candidate.file, candidate.sketch, f"{kind}{SEPARATOR}{sentence}"
    )
    _forget_parameters(folder, served)
    return served


def go_back(home: Path, task: str, kind: str, sentence: str) -> Served:
    """Have the former model in use again. Takes long. Raises MusterError."""
    return pointer.go_back(folder_of(home, task), f"{kind}{SEPARATOR}{sentence}")


def parameters_of(home: Path, task: str, sha256: str) -> Path:
    """The parameters of the model whose ONNX file has that hash, from which a job can begin."""
    return models_of(folder_of(home, task)) / f"{sha256}{PARAMETERS}"


def _keep_parameters(folder: Path, candidate: Candidate) -> None:
    target = models_of(folder) / f"{candidate.sha256}{PARAMETERS}"
    part = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with candidate.parameters.open("rb") as file:
            write_staged(part, iter(lambda: file.read(PIECE_BYTES), b""))
        os.replace(part, target)
        fsync_dir(target.parent)
    except OSError as error:
        if error.errno in FULL:
            raise MusterError(
                "disk_full", f"the disk that holds {folder} is full: free some space"
            ) from error
        raise MusterError("home", f"{target} cannot be written: {error.strerror}") from error


def _forget_parameters(folder: Path, served: Served) -> None:
    kept = {served.sha256} | ({served.former.sha256} if served.former else set())
    with contextlib.suppress(OSError):  # next time
        for path in models_of(folder).glob(f"*{PARAMETERS}"):
            if path.stem not in kept:
                path.unlink(missing_ok=True)
