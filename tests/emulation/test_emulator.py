"""Real namespaces, processes and sockets. Each test is an emulation of its own in a directory of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from two_nodes import echo, free_port, ping, two

from muster.emulation.emulator import Emulation
from muster.emulation.loopback import LoopbackEmulation, choose
from muster.emulation.radio.bursts import Burst
from muster.emulation.radio.carrier import probe
from muster.emulation.radio.model import LinkParams
from muster.errors import MusterError
from muster.simulation import faults
from patience import patient_s

pytestmark = pytest.mark.e2e


def test_this_machine_can_emulate() -> None:
    assert probe() is None


def test_delay_rate_and_counters(tmp_path: Path) -> None:
    async def main() -> None:
        async with Emulation(two("delay_ms = 40\nrate_kbit_s = 1000"), tmp_path) as net:
            await echo(net, "bravo")
            answers, median_s = await ping(net, "alpha", net.address("bravo"), 20, 958, 0.05)
            # 958 bytes of payload are 1000 on the wire: 8 ms each way, and the delay
            assert answers == 20
            assert 0.096 <= median_s < 0.110
            counts = await net.counters()
            for pair in (("alpha", "bravo"), ("bravo", "alpha")):
                assert (counts[pair].frames, counts[pair].bytes) == (20, 20_000)
                assert counts[pair].delivered_bytes == 20_000
            assert net.neighbours("alpha") == [net.address("bravo")]
            assert net.neighbours("charlie") == []

    asyncio.run(main())


def test_loss_is_as_set_in_each_direction(tmp_path: Path) -> None:
    async def main() -> None:
        link = "rate_kbit_s = 100000\nloss = 0.2\nback = { loss = 0 }"
        async with Emulation(two(link), tmp_path) as net:
            await echo(net, "bravo")
            answers, _ = await ping(net, "alpha", net.address("bravo"), 1000, 60, 0.001, 0.5)
            counts = await net.counters()
            assert 150 < counts["alpha", "bravo"].dropped_loss < 250
            assert answers == 1000 - counts["alpha", "bravo"].dropped_loss
            assert counts["bravo", "alpha"].dropped == 0

    asyncio.run(main())


def test_bad_spells_are_told_as_they_happen(tmp_path: Path) -> None:
    async def main() -> None:
        bursts = Burst(p_good_to_bad=0.5, p_bad_to_good=0.5, loss_bad=1.0)
        async with Emulation(two("delay_ms = 1"), tmp_path) as net:
            loop = asyncio.get_running_loop()
            assert await net.bad_spells() == {}
            began_s = loop.time()
            await net.set_link("alpha", "bravo", LinkParams(burst=bursts), both=False)
            await asyncio.sleep(0.3)  # nothing is sent
            seen = await net.bad_spells(began_s)
        assert list(seen) == [("alpha", "bravo")]
        told = seen["alpha", "bravo"]
        assert 0.3 <= told.passed_s <= loop.time() - began_s
        assert 0 < told.share < 1
        assert told.spells
        assert all(began_s <= began <= loop.time() for began, _ in told.spells)

    asyncio.run(main())


def test_no_link_no_frames_and_broadcast_reaches_linked_nodes_only(tmp_path: Path) -> None:
    async def main() -> None:
        async with Emulation(two(), tmp_path) as net:
            await echo(net, "bravo")
            await echo(net, "charlie")
            assert (await ping(net, "alpha", net.address("charlie"), patience_s=0.3))[0] == 0
            assert (await ping(net, "alpha", "10.77.255.255", 3, patience_s=0.3))[0] == 3
            await net.set_link("alpha", "charlie", LinkParams())
            assert (await ping(net, "alpha", net.address("charlie")))[0] == 1

    asyncio.run(main())


def test_no_frame_is_longer_than_a_wire_takes(tmp_path: Path) -> None:
    """TCP and UDP segmentation happen before the radio, and checksums are on the wire."""
    code = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(17, 103, 1000)  # SOL_UDP, UDP_SEGMENT
try:
    s.sendto(bytes(20000), (sys.argv[1], 5000))
except OSError:
    for _ in range(20):
        s.setsockopt(17, 103, 0)
        s.sendto(bytes(1000), (sys.argv[1], 5000))
for _ in range(20):
    assert len(s.recv(65536)) == 1000
"""

    async def main() -> None:
        async with Emulation(two("rate_kbit_s = 100000"), tmp_path) as net:
            await echo(net, "bravo")
            sender = await net.spawn("alpha", [sys.executable, "-c", code, net.address("bravo")])
            assert await sender.wait() == 0
            assert (await ping(net, "alpha", net.address("bravo"), size=958))[0] == 1
            count = (await net.counters())["alpha", "bravo"]
            assert (count.frames, count.bytes) == (21, 20 * 1042 + 1000)

    asyncio.run(main())


def test_a_program_that_does_not_exist(tmp_path: Path) -> None:
    async def main() -> None:
        async with Emulation(two(), tmp_path) as net:
            process = await net.spawn("alpha", ["/no/such/program"], stdout=tmp_path / "log")
            assert await process.wait() == 1
            assert "/no/such/program cannot be started" in (tmp_path / "log").read_text()
            with pytest.raises(MusterError, match="no node 'zulu'"):
                await net.spawn("zulu", ["true"])

    asyncio.run(main())


def test_two_emulations_side_by_side_do_not_meet(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        async with Emulation(two(), tmp_path / "one") as one, Emulation(two(), tmp_path / "two") as other:
            await echo(one, "bravo")
            assert (await ping(other, "alpha", other.address("bravo"), patience_s=0.3))[0] == 0
            assert (await ping(one, "alpha", one.address("bravo")))[0] == 1

    asyncio.run(main())


def test_loopback_shapes_and_counts_as_namespaces_do(tmp_path: Path) -> None:
    port = free_port()

    async def main() -> None:
        link = "delay_ms = 40\nrate_kbit_s = 1000\nback = { delay_ms = 20 }"
        async with LoopbackEmulation(two(link), tmp_path, port=port) as net:
            await echo(net, "bravo", net.address("bravo"), port)
            [bravo] = net.neighbours("alpha")
            answers, median_s = await ping(net, "alpha", bravo, 20, 958, 0.05, port=port)
            assert answers == 20
            assert 0.076 <= median_s < 0.092
            for pair in (("alpha", "bravo"), ("bravo", "alpha")):
                count = (await net.counters())[pair]
                assert (count.frames, count.bytes, count.delivered_bytes) == (20, 20_000, 20_000)
            await net.apply(faults.Leave("alpha"))
            assert (await ping(net, "alpha", bravo, patience_s=0.3, port=port))[0] == 0
            await net.apply(faults.Return("alpha"))
            assert (await ping(net, "alpha", bravo, port=port))[0] == 1
            assert (await ping(net, "alpha", bravo, size=1500, patience_s=0.3, port=port))[0] == 0
            await net.set_link("charlie", "bravo", LinkParams())
            [bravo] = net.neighbours("charlie")
            assert (await ping(net, "charlie", bravo, port=port))[0] == 1
            (tmp_path / "more").mkdir()
            with pytest.raises(MusterError, match="another emulation") as raised:
                await LoopbackEmulation(two(), tmp_path / "more", port=port).__aenter__()
            assert raised.value.code == "port_in_use"

    asyncio.run(main())


def test_a_machine_without_namespaces_is_told_so(tmp_path: Path) -> None:
    """In a user namespace of its own that may hold no network namespaces."""
    code = """
import ctypes, os, pathlib, sys
user = os.geteuid()
assert ctypes.CDLL(None).unshare(0x10000000) == 0
pathlib.Path("/proc/self/uid_map").write_text(f"0 {user} 1")
pathlib.Path("/proc/sys/user/max_net_namespaces").write_text("0")
from muster.emulation.loopback import choose
from muster.emulation.scenario_file import load
net, sentence = choose(load("lan-3"), pathlib.Path(sys.argv[1]))
print(type(net).__name__, sentence, sep=chr(10))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=patient_s(60.0),
        check=True,
    )
    kind, sentence = answer.stdout.splitlines()
    assert kind == "LoopbackEmulation"
    assert "does not let this user make network namespaces" in sentence
    assert answer.stderr == ""
    assert type(choose(two(), tmp_path)[0]) is Emulation
