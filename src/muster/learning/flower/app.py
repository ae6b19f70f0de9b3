"""Finds the parts of a Flower app: its ClientApp, its ServerApp and its run configuration.

A Flower app is a folder with a pyproject.toml (`[tool.flwr.app]`) and a package.  flwr is imported here, and
only when a task names an app; its telemetry is off in a node.
"""

from __future__ import annotations

import importlib
import logging
import os
import random
import sys
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from muster.learning.faults import TaskFault


@dataclass(frozen=True)
class AppFolder:
    """What the pyproject.toml of an app says; all empty without one. `config` is flat: "a.b" -> value."""

    name: str = ""
    version: str = "1"
    client: str = ""
    server: str = ""
    config: dict[str, Any] = field(default_factory=dict)


def read_folder(folder: Path | None) -> AppFolder:
    """Raises TaskFault for a file that cannot be read."""
    if folder is None or not (folder / "pyproject.toml").is_file():
        return AppFolder()
    path = folder / "pyproject.toml"
    try:
        whole = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise TaskFault(f"{path} cannot be read: {error}") from error
    project, app = _table(whole, "project"), _table(whole, "tool", "flwr", "app")
    components = _table(app, "components")
    return AppFolder(
        str(project.get("name", "")),
        str(project.get("version", "1")),
        str(components.get("clientapp", "")),
        str(components.get("serverapp", "")),
        flat(_table(app, "config")),
    )


def _table(whole: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    for key in keys:
        whole = whole.get(key, {})
        if not isinstance(whole, Mapping):
            return {}
    return whole


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables in tables as "outer.inner", as Flower's run configuration has them."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def flower(module: str) -> Any:
    """A module of flwr. Raises TaskFault when it is not installed."""
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # a node tells nobody of what it does
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of packages that flwr imports
            found = importlib.import_module(module)
        logging.getLogger("flwr").setLevel(logging.WARNING)
        return found
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "flwr":
            raise
        raise TaskFault(
            "this task is a Flower app and flwr is not installed here: pip install 'muster-fl[flower]'"
        ) from error


def load_object(reference: str, folder: Path | None, what: str) -> Any:
    """The object behind "module:name", a module of `folder` or an installed one. Raises TaskFault."""
    module_name, colon, name = reference.partition(":")
    if not colon or not module_name or not name:
        raise TaskFault(f'{what} = {reference!r} must be "module:name", such as "my_app.client_app:app"')
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        where = f"in {folder} " if folder is not None else "(file = the app's folder says where) "
        raise TaskFault(f"{what} names the module {module_name!r}, which is not {where}here") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise TaskFault(f"{what}: the module {module_name!r} has no {name!r}")
        found = getattr(found, part)
    return found


def identify(node: int) -> None:
    """Tell flwr who sends messages in this process; newer versions will not make one without."""
    try:
        identity = flower("flwr.supercore.task_identity").TaskIdentity
    except TaskFault:  # an older version asks for none
        return
    identity.task_id, identity.run_id, identity.node_id = 1, 1, node


def seed_everything(seed: int) -> None:
    """Python's, numpy's and, where it is imported, torch's random numbers."""
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)
