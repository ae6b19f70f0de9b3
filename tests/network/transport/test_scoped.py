"""Addresses that are valid on one interface only: two machines that have nothing but link-local IPv6."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from muster.network.trust.identity import init_fleet, issue
from patience import patient_s
from spaces import Spaces, spaces

NODE = Path(__file__).with_name("linked_to.py")
TESTS = Path(__file__).parents[2]


def link_local(net: Spaces, name: str, interface: str) -> str:
    """Its address, when the kernel has found it to be nobody else's."""
    end_s = time.monotonic() + patient_s(10.0)
    while time.monotonic() < end_s:
        words = net.run(name, f"ip -6 -o address show dev {interface} scope link -tentative").split()
        if "inet6" in words:
            return words[words.index("inet6") + 1].partition("/")[0]
        time.sleep(0.05)  # the kernel is waited for: there is nothing to be told by
    pytest.skip("this kernel gives an interface no link-local address")


@pytest.mark.e2e
def test_a_link_local_address_is_dialled_over_its_interface(tmp_path: Path) -> None:
    fleet = init_fleet(tmp_path / "fleet", "north").directory
    bundles = {name: issue(fleet, name) for name in "ab"}
    env = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(TESTS)])}
    with spaces() as net:
        net.add("a", "b")
        net.wire("a", "b")
        address = link_local(net, "b", "to-a")
        wanted = {"a": ["[::]:7447", f"[{address}%to-b]:7447"], "b": [f"[{address}%to-a]:7447"]}
        running = {
            name: subprocess.Popen(
                [*net.entering(name), sys.executable, str(NODE), str(bundles[name]), *endpoints],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=env,
            )
            for name, endpoints in wanted.items()
        }
        try:
            for name, process in running.items():
                assert process.stdout is not None
                assert process.stdout.readline() == "linked\n", name
        finally:
            for process in running.values():
                process.communicate(timeout=patient_s(30.0))
