"""Imports a task's file as Python imports a module: by its own name, with its folder on the path.

So a neighbour is found from whatever directory the daemon was started, and what the file defines can be sent
to processes of every start method, such as the workers of a DataLoader: they get this process's path and
import the file by its name.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from muster.errors import MusterError

_folders: list[str] = []  # that stand on the path because of a task; a process has one task but in tests


def import_file(path: Path) -> ModuleType:
    """The module in the file at `path` (absolute), run again each time. What its code raises passes through.

    A file with the name of an installed module gets another name, by which no other process can import it.
    """
    folder = str(path.parent)
    _forget_others(folder)
    if folder not in sys.path:
        sys.path.insert(_place(), folder)
        _folders.append(folder)
    importlib.invalidate_caches()
    name = (
        path.stem if _is_free(path) else f"muster_task_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MusterError("unknown_task", f"{path} cannot be read as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling inside the user's file look it up
    spec.loader.exec_module(module)
    return module


def _place() -> int:
    """Where a task's folder goes: its files hide installed packages, as in a script of that folder, but none
    of the standard library."""
    for i, entry in enumerate(sys.path):
        if entry.rstrip("/").endswith(("site-packages", "dist-packages")):
            return i
    return len(sys.path)


def _is_free(path: Path) -> bool:
    """Whether no other module has the file's name."""
    name = path.stem
    if "." in name or name in sys.stdlib_module_names or name == "muster":
        return False
    loaded = sys.modules.get(name)
    if loaded is not None:
        return _file_of(loaded) == path
    elsewhere = [entry for entry in sys.path if entry and Path(entry).resolve() != path.parent]
    return importlib.machinery.PathFinder.find_spec(name, elsewhere) is None


def _forget_others(folder: str) -> None:
    """Take folders of other tasks from the path, and what was imported from there."""
    for other in [f for f in _folders if f != folder]:
        _folders.remove(other)
        if other in sys.path:
            sys.path.remove(other)
        for name, module in list(sys.modules.items()):
            file = _file_of(module)
            if file is not None and str(file.parent) == other:
                del sys.modules[name]


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if isinstance(file, str) else None
