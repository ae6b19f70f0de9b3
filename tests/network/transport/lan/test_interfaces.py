"""What becomes of this machine's interfaces, and when it is looked at."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import psutil
import pytest

from muster.network.supervisor import Pulse
from muster.network.transport.lan import netlink
from muster.network.transport.lan.interfaces import Changes, Interface, changes, interfaces
from muster.network.transport.lan.netlink import LOOK_RARELY_S, LOOK_S, InterfaceWatch
from muster.simulation.virtual.event_loop import run as run_virtually

ETH = Interface("eth0", 2, True, True, ("10.0.0.1", "fe80::1%2"))


def test_they_are_those_that_psutil_sees() -> None:
    expected = {
        (name, entry.address.partition("%")[0])
        for name, entries in psutil.net_if_addrs().items()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    }
    seen = interfaces()
    assert {(one.name, a.partition("%")[0]) for one in seen for a in one.addresses} == expected
    assert {one.index: one.name for one in seen} == dict(socket.if_nameindex())
    assert all(one.multicast for one in seen if one.name == "lo")


def test_only_what_somebody_can_reach_is_a_change() -> None:
    assert changes([ETH], [ETH, Interface("docker0", 3, False, True, ("172.17.0.1",))]) is None
    assert changes([ETH], [replace(ETH, addresses=("10.0.0.1",))]) is None  # link-local ones do not count
    moved = replace(ETH, addresses=("10.0.0.7",))
    assert changes([ETH], [moved]) == Changes(frozenset({"10.0.0.7"}), frozenset({"10.0.0.1"}))
    dead = changes([ETH], [replace(ETH, running=False)])
    assert dead is not None
    assert dead.sentence() == "this machine has 10.0.0.1 no more"


class Kernel:
    """Interfaces that change at given times."""

    def __init__(self, at: dict[float, tuple[Interface, ...]]) -> None:
        self._at = at
        self.looks: list[float] = []

    def __call__(self) -> tuple[Interface, ...]:
        try:
            now_s = asyncio.get_running_loop().time()
        except RuntimeError:
            now_s = 0.0
        self.looks.append(now_s)
        return max((at_s, found) for at_s, found in self._at.items() if at_s <= now_s)[1]


def test_without_netlink_a_change_is_seen_within_ten_seconds() -> None:
    heard: list[tuple[float, int]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        watch = InterfaceWatch(
            lambda before, after: heard.append((loop.time(), len(after))),
            Kernel({0.0: (), 42.0: (ETH,)}),
            lambda: None,
        )
        task = loop.create_task(watch.run(Pulse()))
        await asyncio.sleep(100)
        assert watch.now == (ETH,)
        task.cancel()

    run_virtually(main())
    assert [count for _, count in heard] == [1]
    assert 42.0 <= heard[0][0] <= 42.0 + LOOK_S


def test_a_burst_of_messages_is_one_look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "SETTLE_S", 0.02)
    rings, bell = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    bell.setblocking(False)
    found: list[tuple[Interface, ...]] = [(), (ETH,), (ETH, ETH)]
    seen = []

    async def main() -> None:
        arrived = asyncio.Event()

        def changed(before: tuple[Interface, ...], after: tuple[Interface, ...]) -> None:
            seen.append(after)
            arrived.set()

        task = asyncio.create_task(InterfaceWatch(changed, lambda: found.pop(0), lambda: bell).run(Pulse()))
        await asyncio.sleep(0)
        for _ in range(10):
            rings.send(b"a message of the kernel")
        async with asyncio.timeout(LOOK_RARELY_S / 2):
            await arrived.wait()
        task.cancel()

    asyncio.run(main())
    rings.close()
    assert seen == [(ETH,)]


@pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="Linux only")
def test_the_kernel_gives_a_bell() -> None:
    bell = netlink.netlink()
    assert bell is None or bell.getsockname()[1] == 0x111
    if bell is not None:
        bell.close()
