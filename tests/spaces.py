"""Network namespaces that a test wires up by iproute2: veths, routers, firewalls, small MTUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class Spaces:
    """Each is held by a process of its own, and gone with it."""

    def __init__(self) -> None:
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def add(self, *names: str) -> None:
        for name in names:
            holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
            self._holders[name] = holder
            own = os.readlink("/proc/self/ns/net")
            while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
                time.sleep(0.01)  # another process is waited for: there is nothing to be told by
            self.run(name, "ip link set lo up")

    def wire(self, one: str, other: str, address: str = "", far: str = "", mtu: int = 1500) -> None:
        """A cable between two of them; the interface is called by who is at its other end: "to-NAME"."""
        there = f"mtu {mtu} netns {self._holders[other].pid}"
        self.run(one, f"ip link add to-{other} mtu {mtu} type veth peer name to-{one} {there}")
        for space, interface, own in ((one, f"to-{other}", address), (other, f"to-{one}", far)):
            if own:
                self.run(space, f"ip addr add {own} dev {interface} nodad")
            self.run(space, f"ip link set {interface} up")

    def run(self, name: str, command: str) -> str:
        done = subprocess.run(
            [*self.entering(name), *command.split()], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def entering(self, name: str) -> list[str]:
        """The beginning of a command line that runs there."""
        return ["nsenter", f"--net=/proc/{self._holders[name].pid}/ns/net"]

    def allows(self, name: str, command: str) -> None:
        """Run it, or skip the test where the kernel cannot."""
        done = subprocess.run([*self.entering(name), *command.split()], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"this kernel refuses: {command}")

    def end(self) -> None:
        for holder in self._holders.values():
            holder.kill()
        for holder in self._holders.values():
            holder.wait()


@contextmanager
def spaces(*needed: str) -> Iterator[Spaces]:
    """`needed`: programs beside iproute2. Skips where this cannot be had."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces are wired up by root")
    for program in ("ip", "nsenter", "unshare", *needed):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on this machine: apt-get install {program} (as .ci/run does)")
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel makes no network namespaces")
    made = Spaces()
    try:
        yield made
    finally:
        made.end()
