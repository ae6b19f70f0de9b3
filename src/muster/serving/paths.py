"""Where a node keeps what it serves.

HOME/serve/TASK/current                      which model is in use (`pointer`)
HOME/serve/TASK/models/VERSION.onnx          models: the one in use, the former one, and a few older ones
HOME/serve/TASK/models/VERSION.sketch.onnx   beside it: from inputs to what nodes are compared by
HOME/serve/TASK/models/HASH.safetensors      parameters of the ONNX file with that hash: jobs begin from them
HOME/serve/TASK/server.json                  what the server says of itself
HOME/local/TASK.sqlite                       the node's own samples (muster/local)
"""

from __future__ import annotations

from pathlib import Path

from muster.errors import MusterError

SERVE, MODELS, PARAMETERS = "serve", "models", ".safetensors"
TASK_CHARS_MAX = 64

# An environment variable: the process of a demo or a test, with which servers are to end.
WHILE = "MUSTER_SERVE_WHILE"


def folder_of(home: Path, task: str) -> Path:
    """The folder of a served task. Raises MusterError usage for what is no task's name."""
    return home / SERVE / _name(task)


def local_set_of(home: Path, task: str) -> Path:
    """The node's own samples of a task. Raises MusterError usage."""
    from muster.local.local_set import path_of  # numpy, which an idle daemon has no use for

    return path_of(home, _name(task))


def pointer_of(folder: Path) -> Path:
    """The pointer in a served task's folder."""
    return folder / "current"


def report_of(folder: Path) -> Path:
    """What the server says of itself."""
    return folder / "server.json"


def models_of(folder: Path) -> Path:
    """Where a served task's models are."""
    return folder / MODELS


def parameters_of(folder: Path, sha256: str) -> Path:
    """The parameters of the model whose ONNX file has that hash, from which a job can begin."""
    return models_of(folder) / f"{sha256}{PARAMETERS}"


def served_tasks(home: Path) -> list[str]:
    """The tasks that are or were served from this home, sorted."""
    try:
        return sorted(path.name for path in (home / SERVE).iterdir() if path.is_dir())
    except OSError:
        return []


def _name(task: str) -> str:
    plain = 0 < len(task) <= TASK_CHARS_MAX and all(c.isalnum() or c in "-_." for c in task)
    if not plain or task.startswith("."):
        raise MusterError(
            "usage", f"{task[:TASK_CHARS_MAX]!r} is no task's name: it has letters, digits, '-', '_' and '.'"
        )
    return task
