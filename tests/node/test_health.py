"""The health of a node's loops: in its snapshot and rows, and as systemd hears it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.network.supervisor import Pulse, Supervisor
from muster.node.event_log import EventLog
from muster.node.health import LOOK_S, HealthWatch
from muster.node.service.notify import notify, watchdog_s
from muster.simulation.virtual.event_loop import run


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        yield listening


def heard(listening: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(listening.recv(4096).decode())
        except BlockingIOError:
            return found


def test_systemd_hears_of_a_node_as_long_as_no_loop_hangs(systemd: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "30000000"}
    log = EventLog(lambda: 0.0)

    async def hangs(pulse: Pulse) -> None:
        while asyncio.get_running_loop().time() < 100:
            pulse.renew(10)
            await asyncio.sleep(10)
        await asyncio.sleep(200)
        pulse.renew(10)
        await asyncio.sleep(1e6)

    async def main() -> None:
        supervisor = Supervisor()
        supervisor.keep("the announcer", hangs)
        supervisor.keep("looking at all loops", HealthWatch(supervisor, log, lambda: "idle", environment).run)
        await asyncio.sleep(LOOK_S + 0.5)
        assert heard(systemd) == ["READY=1", "WATCHDOG=1", "STATUS=idle", "WATCHDOG=1"]
        for _ in range(19):
            await asyncio.sleep(LOOK_S)
            assert heard(systemd) == ["WATCHDOG=1"]
        late = []
        for _ in range(10):
            await asyncio.sleep(LOOK_S)
            late += heard(systemd)
        await asyncio.sleep(100)
        assert heard(systemd) == []  # longer than WatchdogSec: systemd starts the node again
        sentence = "the announcer hangs: it should go round every 10 s and does not"
        assert [event.text for event in log.events] == [sentence]
        assert late[-1] == f"STATUS={sentence}"
        await asyncio.sleep(50)
        assert heard(systemd)[:2] == ["WATCHDOG=1", "STATUS=idle"]
        await supervisor.close()

    run(main(), until_s=1e5)


def test_without_systemd_nothing_is_sent(systemd: socket.socket) -> None:
    notify("READY=1", {})
    notify("READY=1", {"NOTIFY_SOCKET": "nowhere"})
    notify("READY=1", {"NOTIFY_SOCKET": "/nowhere/at/all"})
    assert heard(systemd) == []
    notify("READY=1", {"NOTIFY_SOCKET": systemd.getsockname()})
    assert heard(systemd) == ["READY=1"]


def test_an_abstract_socket_is_heard_as_well() -> None:
    name = f"muster-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        notify("WATCHDOG=1", {"NOTIFY_SOCKET": "@" + name})
        assert listening.recv(100) == b"WATCHDOG=1"


def test_what_systemd_asks_for() -> None:
    assert watchdog_s({}) is None
    assert watchdog_s({"WATCHDOG_USEC": "junk"}) is None
    assert watchdog_s({"WATCHDOG_USEC": "0"}) is None
    assert watchdog_s({"WATCHDOG_USEC": "3000000"}) == 3.0
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}) == 3.0
    assert watchdog_s({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}) is None
    assert LOOK_S < 10
