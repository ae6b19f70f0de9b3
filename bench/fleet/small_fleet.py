"""A few real daemons on an emulated network, for the benchmarks beside this file and for tests/e2e."""

from __future__ import annotations

import asyncio
import contextlib
import json
import platform
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w

from muster.cli.demo.preparation import DemoRequest, dials, node_config
from muster.emulation.emulator import Emulation
from muster.emulation.node_process import NodeProcess
from muster.emulation.scenario import Scenario
from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.client import Client
from muster.node.api.snapshot import Snapshot

PORT = 7447


@dataclass
class SmallFleet:
    net: Emulation
    rundir: Path
    request: DemoRequest
    profile: str
    config: Mapping[str, Any] = field(default_factory=dict)  # for every node's node.toml, over what is usual
    program: tuple[str, ...] = ("-m", "muster.cli.main")

    async def spawn(self, number: int) -> NodeProcess:
        """Start one node's daemon."""
        scenario = self.request.scenario
        name = scenario.names()[number]
        home = self.rundir / name
        home.mkdir(exist_ok=True)
        bundle = issue(self.rundir / "fleet", name, home / "bundle.pem")
        connect = tuple(f"{self.net.address(other)}:{PORT}" for other in dials(scenario, name))
        listen = f"{self.net.address(name)}:{PORT}"
        config = node_config(self.request, number, home, bundle, listen, connect) | {"profile": self.profile}
        for key, value in self.config.items():
            config[key] = {**config[key], **value} if isinstance(value, Mapping) and key in config else value
        (home / "node.toml").write_text(tomli_w.dumps(config), "utf-8")
        argv = [sys.executable, *self.program, "node", "--config", str(home / "node.toml")]
        return await self.net.spawn(name, argv, stdout=home / "output.log")

    def client(self, name: str) -> Client:
        return Client(self.rundir / name)

    async def snapshot(self, name: str) -> Snapshot | None:
        """None while the daemon does not answer."""
        with contextlib.suppress(MusterError):
            return await asyncio.to_thread(self.client(name).snapshot)
        return None

    async def until_linked(self, name: str, count: int, limit_s: float = 60.0) -> float:
        """Seconds until `name` has `count` neighbours."""
        began_s = time.monotonic()
        while time.monotonic() - began_s < limit_s:
            seen = await self.snapshot(name)
            if seen is not None and len(seen.neighbours) >= count:
                return time.monotonic() - began_s
            await asyncio.sleep(0.02)
        raise SystemExit(f"{name} did not get {count} neighbours within {limit_s:g} s")


@contextlib.asynccontextmanager
async def small_fleet(
    scenario: Scenario,
    task: str = "digits",
    data: Path | None = None,
    profile: str = "lan",
    config: Mapping[str, Any] | None = None,
) -> AsyncIterator[SmallFleet]:
    with tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        rundir = Path(folder)
        init_fleet(rundir / "fleet", "bench")
        request = DemoRequest(scenario, task, "iid", 0, data)
        async with Emulation(scenario, rundir) as net:
            yield SmallFleet(net, rundir, request, profile, config or {})


def machine() -> str:
    """What the figures were measured on."""
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
        cpu = f"{len(models)} x {models[0].split(':')[1].strip()}"
    except (OSError, IndexError):
        cpu = platform.processor() or platform.machine()
    return f"{cpu}, Linux {platform.release()}, Python {platform.python_version()}"


def write(path: Path | None, result: object) -> None:
    if path is not None:
        path.write_text(json.dumps(result, indent=2) + "\n")
