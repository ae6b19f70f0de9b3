"""Muster: small devices re-train one model together over networks that come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muster.api import Result, train
    from muster.errors import MusterError
    from muster.learning.task import Task

__version__ = "0.1.0"

# The public API of the package, with what CHANGELOG.md names beside it: it changes only with the version.
# Everything else in the package may change at any time.
__all__ = ["MusterError", "Result", "Task", "__version__", "train"]

_LAZY = {
    "train": "muster.api",
    "Result": "muster.api",
    "Task": "muster.learning.task",
    "MusterError": "muster.errors",
}


def __getattr__(name: str) -> Any:
    """`muster.train` and friends, imported when they are first used: `import muster` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'muster' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
