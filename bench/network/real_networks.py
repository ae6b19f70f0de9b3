"""Networks of real interfaces for real daemons: namespaces with cables to switches, as root, with `ip`.

The emulated radio (muster/emulation) gives every node one address for good; here interfaces come and go.
All of it hangs on namespaces whose names carry this process's id, and is taken down at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import tomli_w

from muster.errors import MusterError
from muster.network.trust.identity import init_fleet, issue
from muster.node.api.client import Client

ANSWER_S = 60.0
END_S = 20.0
LOOK_S = 0.1


def refusal() -> str | None:
    """Why this machine makes no such networks; None: it does."""
    if os.geteuid() != 0:
        return "this needs root"
    if shutil.which("ip") is None:
        return "there is no ip command (package iproute2)"
    name = f"mu{os.getpid()}try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return made.stderr.strip()
    subprocess.run(["ip", "netns", "del", name], check=False)
    return None


class RealNetworks:
    """Use as a context; nodes are named by one letter or a short word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._spaces: list[str] = []
        self._lans: set[str] = set()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> RealNetworks:
        init_fleet(self.folder / "fleet", "real")
        self._add("hub")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in self._daemons.values():
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(END_S)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for space in self._spaces:
            subprocess.run(["ip", "netns", "del", space], check=False)

    # ---- networks -----------------------------------------------------------------------------------------

    def node(self, name: str) -> None:
        """A machine with nothing but loopback."""
        self._add(name)

    def cable(self, node: str, interface: str, lan: str) -> None:
        """Give a machine an interface on a switch; it is down and has no address."""
        if lan not in self._lans:
            self._lans.add(lan)
            self.ip("hub", "link", "add", lan, "type", "bridge", "mcast_snooping", "0")
            self.ip("hub", "link", "set", lan, "up")
        outer = self._outer(node, interface)
        self.ip("hub", "link", "add", outer, "type", "veth", "peer", "name", "new")
        self.ip("hub", "link", "set", "new", "netns", self.space(node))
        self.ip(node, "link", "set", "new", "name", interface)
        self.ip("hub", "link", "set", outer, "master", lan)
        self.ip("hub", "link", "set", outer, "up")

    def up(self, node: str, interface: str, address: str | None = None) -> None:
        if address is not None:
            self.ip(node, "address", "add", f"{address}/24", "dev", interface)
        self.ip(node, "link", "set", interface, "up")

    def down(self, node: str, interface: str) -> None:
        self.ip(node, "link", "set", interface, "down")

    def silence(self, node: str, interface: str, *, heals: bool = False, lan: str = "") -> None:
        """The switch forgets this cable; the machine sees nothing of it."""
        which = ("master", lan) if heals else ("nomaster",)
        self.ip("hub", "link", "set", self._outer(node, interface), *which)

    def change_address(self, node: str, interface: str, old: str, new: str) -> None:
        """As when a lease ends and the router gives another."""
        self.ip(node, "address", "del", f"{old}/24", "dev", interface)
        self.ip(node, "address", "add", f"{new}/24", "dev", interface)

    def ip(self, node: str, *words: str) -> None:
        subprocess.run(["ip", "-n", self.space(node), *words], check=True)

    def run(self, node: str, command: str) -> None:
        """A program on this machine, such as iptables or sysctl."""
        subprocess.run(["ip", "netns", "exec", self.space(node), *command.split()], check=True)

    def space(self, node: str) -> str:
        """The name of its namespace."""
        return f"mu{os.getpid()}{node}"

    # ---- daemons ------------------------------------------------------------------------------------------

    def start(self, name: str, config: Mapping[str, Any], on: str | None = None) -> Client:
        """A daemon on the machine of its name, or `on` another; it answers when this returns."""
        home = self.folder / name
        home.mkdir()
        bundle = issue(self.folder / "fleet", name, home / "bundle.pem")
        usual = {"name": name, "home": str(home), "bundle": str(bundle), "trainer": {"niceness": 0}}
        (home / "node.toml").write_text(tomli_w.dumps(usual | dict(config)))
        words = [sys.executable, "-m", "muster.cli.main", "node", "--config", str(home / "node.toml")]
        with (home / "output.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                ["ip", "netns", "exec", self.space(on or name), *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={key: value for key, value in os.environ.items() if key != "MUSTER_HOME"},
            )
        client = Client(home, timeout_s=60.0)
        seconds_until(lambda: answers(client), ANSWER_S, f"{name} answers")
        return client

    def daemons(self) -> list[str]:
        """The names of those that were started."""
        return list(self._daemons)

    def processes(self, name: str) -> list[int]:
        """The daemon and all that it started."""
        found = [self._daemons[name].pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, task.read_text().split())
        return found

    def said(self, name: str) -> str:
        log = self.folder / name / "output.log"
        return log.read_text("utf-8", "replace") if log.exists() else ""

    def _add(self, name: str) -> None:
        space = self.space(name)
        subprocess.run(["ip", "netns", "add", space], check=True)
        self._spaces.append(space)
        self.ip(name, "link", "set", "lo", "up")

    def _outer(self, node: str, interface: str) -> str:
        return f"{node[:4]}{interface}"[:15]


def answers(client: Client) -> bool:
    try:
        client.snapshot(timeout_s=2.0)
    except MusterError:
        return False
    return True


def seconds_until(holds: Callable[[], Any], limit_s: float, what: str) -> float:
    """Seconds that it took. Raises TimeoutError with what did not come about."""
    began_s = time.monotonic()
    while not holds():
        if time.monotonic() - began_s > limit_s:
            raise TimeoutError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(LOOK_S)  # other processes are waited for: there is nothing to be told by
    return time.monotonic() - began_s
