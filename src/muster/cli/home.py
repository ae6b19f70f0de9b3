"""Which node's home a command means that needs no daemon."""

from __future__ import annotations

import os
from pathlib import Path

from muster.node.api.client import choose, running
from muster.node.config import SERVICE_HOMES, NodeConfig, load_config
from muster.node.service.unit import SETTINGS


def home_and_config(path: Path | None, home: str | None) -> tuple[Path, NodeConfig]:
    """That of `--config` or `--home`, else of the only node that runs here or is a service here, else the
    usual one. The settings of a service are found by its home.

    Raises MusterError: config, no_node.
    """
    if path is None and home is None:
        if running():
            home = str(choose().home)
        else:
            path = _only_service()
    if path is None and home is not None:
        path = _settings_of(Path(home).expanduser().absolute())
    config = load_config(path, {"home": home})
    return config.home, config


def _only_service() -> Path | None:
    """The settings of the only service, if no other place for homes is named."""
    named = "XDG_DATA_HOME" in os.environ or "MUSTER_HOME" in os.environ
    found = [] if named else list(SETTINGS.glob("*.toml"))
    return found[0] if len(found) == 1 else None


def _settings_of(home: Path) -> Path | None:
    settings = SETTINGS / f"{home.name}.toml"
    return settings if home.parent == SERVICE_HOMES and settings.exists() else None
