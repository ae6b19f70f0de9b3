"""Muster: small devices re-train one model together over networks that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muster import aio
    from muster.api import Callback, Result, Tracker, follow, plan, result, train
    from muster.errors import MusterError
    from muster.learning.task import Task
    from muster.node.api.labelling import label
    from muster.node.api.rounds.schema import Part, Round

__version__ = "0.1.0"

# The public API of the package, with what CHANGELOG.md names beside it: it changes only with the version.
# Everything else in the package may change at any time.
__all__ = [
    "Callback",
    "MusterError",
    "Part",
    "Result",
    "Round",
    "Task",
    "Tracker",
    "__version__",
    "aio",
    "follow",
    "label",
    "plan",
    "result",
    "train",
]

_LAZY = {
    "Callback": "muster.api",
    "Part": "muster.node.api.rounds.schema",
    "Round": "muster.node.api.rounds.schema",
    "Tracker": "muster.api",
    "follow": "muster.api",
    "label": "muster.node.api.labelling",
    "plan": "muster.api",
    "result": "muster.api",
    "train": "muster.api",
    "Result": "muster.api",
    "Task": "muster.learning.task",
    "MusterError": "muster.errors",
}


def __getattr__(name: str) -> Any:
    """`muster.train` and friends, imported when they are first used: `import muster` stays light."""
    import importlib

    if name == "aio":
        return importlib.import_module("muster.aio")
    if name not in _LAZY:
        raise AttributeError(f"module 'muster' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
