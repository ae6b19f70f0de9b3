"""Which node's home a command means that needs no daemon."""

from __future__ import annotations

from pathlib import Path

from muster.node.api.client import choose, running
from muster.node.config import NodeConfig, load_config


def home_and_config(path: Path | None, home: str | None) -> tuple[Path, NodeConfig]:
    """That of `--config` or `--home`, else of the only node that runs here, else the usual one.

    Raises MusterError: config, no_node.
    """
    config = load_config(path, {"home": home})
    if path is None and home is None and running():
        return choose().home, config
    return config.home, config
