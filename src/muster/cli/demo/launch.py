"""Starts the daemons of a demo: a throw-away fleet, then a home, a bundle and a node.toml each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import tomli_w

from muster.cli.demo.network import DemoNetwork
from muster.cli.demo.preparation import DemoRequest, dials, node_config
from muster.network.trust.identity import init_fleet, issue

OUTPUT = "output.log"  # in a node's home: what its process printed


async def launch(request: DemoRequest, rundir: Path, net: DemoNetwork) -> None:
    """Write everything below `rundir`, where each node's home has its name, and start the daemons."""
    fleet = await asyncio.to_thread(init_fleet, rundir / "fleet", "demo")
    names = request.scenario.names()
    for number, name in enumerate(names):
        home = rundir / name
        home.mkdir(parents=True, exist_ok=True)
        bundle = issue(fleet.directory, name, home / "bundle.pem")
        connect = tuple(net.endpoint(name, other) for other in dials(request.scenario, name))
        config = node_config(request, number, home, bundle, net.listen(name), connect)
        (home / "node.toml").write_text(tomli_w.dumps(config), "utf-8")
    # The user's own home must not become that of eight nodes.
    env = {key: value for key, value in os.environ.items() if key != "MUSTER_HOME"}
    for name in names:
        config_path = str(rundir / name / "node.toml")
        argv = [sys.executable, "-m", "muster.cli.main", "node", "--config", config_path]
        await net.spawn(name, argv, env=env, stdout=rundir / name / OUTPUT)


def last_output_line(home: Path) -> str:
    """The last line that a node's process wrote, as the end of a sentence."""
    path = home / OUTPUT
    with contextlib.suppress(OSError):
        lines = [line for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
        if lines:
            return lines[-1].removeprefix("muster: ")[:300]
    return f"it wrote nothing to {path}"
