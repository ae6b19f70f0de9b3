"""Real namespaces, processes and sockets. Each test is an emulation of its own in a directory of its own."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from muster.emulation.bursts import Burst
from muster.emulation.carrier import probe
from muster.emulation.control import Control
from muster.emulation.emulator import Emulation
from muster.emulation.loopback import LoopbackEmulation, choose
from muster.emulation.processes import NodeProcess
from muster.emulation.radio import LinkParams
from muster.emulation.scenario import Scenario, parse
from muster.errors import MusterError
from muster.simulation import faults

pytestmark = pytest.mark.e2e

ECHO = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
while True:
    data, sender = s.recvfrom(65536)
    s.sendto(data, sender)
"""

# sends N datagrams of SIZE bytes, one every GAP seconds; prints how many came back and the median round trip
PING = """
import socket, statistics, sys, threading, time
host, count, size, gap, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:6])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.settimeout(patience)
sent, times = {}, []
def send():
    for i in range(count):
        sent[i] = time.monotonic()
        s.sendto(i.to_bytes(4, "big") + bytes(size - 4), (host, int(sys.argv[6])))
        time.sleep(gap)
thread = threading.Thread(target=send)
thread.start()
try:
    while len(times) < count:
        data = s.recv(65536)
        times.append(time.monotonic() - sent[int.from_bytes(data[:4], "big")])
except TimeoutError:
    pass
thread.join()
print(len(times), statistics.median(times or [0]))
"""


def two(link: str = "", seed: int = 3) -> Scenario:
    nodes = 'nodes = [{ name = "alpha" }, { name = "bravo" }, { name = "charlie" }]\n'
    text = f'seed = {seed}\n{nodes}[[links]]\na = "alpha"\nb = "bravo"\n{textwrap.dedent(link)}'
    return parse(text, "two", "two.toml")


async def echo(net: Emulation, node: str, host: str = "", port: int = 5000) -> None:
    server = await net.spawn(node, [sys.executable, "-c", ECHO, host, str(port)], stdout=subprocess.PIPE)
    assert server.stdout is not None
    assert await server.stdout.readline() == b"ready\n"


async def ping(
    net: Emulation,
    node: str,
    host: str,
    count: int = 1,
    size: int = 100,
    gap_s: float = 0.0,
    patience_s: float = 1.0,
    port: int = 5000,
) -> tuple[int, float]:
    """(answers, median round trip in s)"""
    words = [host, str(count), str(size), str(gap_s), str(patience_s), str(port)]
    client = await net.spawn(node, [sys.executable, "-c", PING, *words], stdout=subprocess.PIPE)
    assert client.stdout is not None
    answers, median_s = (await client.stdout.read()).split()
    assert await client.wait() == 0
    return int(answers), float(median_s)


def wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "it did not come true"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
        trial.bind(("", 0))
        return int(trial.getsockname()[1])


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def network_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def networks() -> set[str]:
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                found.add(network_of(int(entry)))
            except OSError:
                continue
    return found


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


def test_faults_and_duty_cycles(tmp_path: Path) -> None:
    async def main() -> None:
        async with Emulation(two(), tmp_path) as net:
            await echo(net, "bravo")

            async def heard() -> bool:
                return (await ping(net, "alpha", net.address("bravo"), patience_s=0.3))[0] == 1

            for off, on in (
                (faults.Cut("alpha", "bravo"), faults.Heal()),
                (faults.Partition((("alpha",),)), faults.Heal("bravo")),
                (faults.Leave("bravo"), faults.Return("bravo")),
                (faults.Lose(1.0), faults.Lose(0.0)),
                (faults.Pause("bravo"), faults.Resume("bravo")),
            ):
                await net.apply(off)
                assert not await heard(), off
                await net.apply(on)
                assert await heard(), on
            server = net.processes("bravo")[0]
            first = server.pid
            stray = await net.spawn(
                "bravo", ["sh", "-c", "setsid sleep 1000 & echo $!"], stdout=subprocess.PIPE
            )
            assert stray.stdout is not None
            pid = int(await stray.stdout.readline())
            assert await stray.wait() == 0
            assert alive(pid)
            await net.apply(faults.Kill("bravo"))
            assert server.returncode == -signal.SIGKILL
            wait_for(lambda: not alive(pid))
            await net.apply(faults.Restart("bravo"))
            assert server.returncode is None
            assert server.pid != first
            assert stray.returncode == 0  # it had ended by itself
            assert net.processes("bravo") == [server]
            for fault, code in (
                (faults.FillDisk("zulu"), "scenario"),
                (faults.Kill("zulu"), "scenario"),
                (faults.Slow(rate_kbit_s=-1), "usage"),
            ):
                with pytest.raises(MusterError) as raised:
                    await net.apply(fault)
                assert raised.value.code == code

    asyncio.run(main())


# writes a byte every 10 ms; tells on its output how far the file has come, and why it does not
WRITER = """
import sys, time
while True:
    try:
        with open(sys.argv[1], "ab") as file:
            file.write(b"x")
        print("wrote", flush=True)
    except OSError as error:
        print("failed", error.errno, flush=True)
    time.sleep(0.01)
"""


async def until_line(process: NodeProcess, wanted: bytes) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(10):
        while await process.stdout.readline() != wanted:
            pass


def test_a_full_disk_takes_nothing_before_and_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        full = b"failed %d\n" % errno.EFBIG
        async with Emulation(two(), tmp_path) as net, Control(net.control_path) as control:
            words = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
            writer = await net.spawn("alpha", words, stdout=subprocess.PIPE)
            await until_line(writer, b"wrote\n")
            await net.apply(faults.FillDisk("alpha"))
            await until_line(writer, full)
            nodes = (await control.ask(do="nodes"))["nodes"]
            assert [node["free_bytes"] for node in nodes] == [0, None, None]
            await net.apply(faults.Restart("alpha"))
            await until_line(writer, full)
            await net.apply(faults.FillDisk("alpha", None))
            await until_line(writer, b"wrote\n")
            await net.apply(faults.FillDisk("alpha", 10_000))
            await until_line(writer, b"wrote\n")

    asyncio.run(main())


def test_a_clock_is_wrong_for_one_node_only(tmp_path: Path) -> None:
    told = "import time; from muster.node.clock import wall_clock; print(wall_clock()() - time.time())"

    async def off(net: Emulation, node: str) -> float:
        process = await net.spawn(node, [sys.executable, "-c", told], stdout=subprocess.PIPE)
        assert process.stdout is not None
        return float(await process.stdout.read())

    async def main() -> None:
        async with Emulation(two(), tmp_path) as net:
            assert abs(await off(net, "alpha")) < 1.0
            await net.apply(faults.SkewClock("alpha", -7200.0))
            assert await off(net, "alpha") == pytest.approx(-7200.0, abs=1.0)
            assert abs(await off(net, "bravo")) < 1.0
            await net.apply(faults.SkewClock("alpha", 0.0))
            assert abs(await off(net, "alpha")) < 1.0

    asyncio.run(main())


def test_the_schedule_and_duty_cycles_run_by_themselves(tmp_path: Path) -> None:
    scenario = parse(
        """
        nodes = [
            { name = "alpha", away = { period_s = 1000, fraction = 0.5 } },
            { name = "bravo", away = { period_s = 1000, fraction = 0.5, phase_s = 500 } },
        ]
        [[links]]
        a = "alpha"
        b = "bravo"
        [[events]]
        at_s = 0.05
        fault = "slow"
        rate_kbit_s = 9.6
        """,
        "events",
        "events.toml",
    )

    async def main() -> None:
        async with Emulation(scenario, tmp_path) as net, asyncio.timeout(10):
            while not (net.is_away("alpha") and net.params()["alpha", "bravo"].rate_kbit_s == 9.6):
                await asyncio.sleep(0.01)
            assert not net.is_away("bravo")

    asyncio.run(main())


def test_the_control_socket_reads_and_changes(tmp_path: Path) -> None:
    async def main() -> None:
        net = Emulation(two("loss = 0.5"), tmp_path)
        async with net, Control(net.control_path) as control:
            await control.ask(do="set", a="alpha", b="bravo", params={"rate_kbit_s": 64}, both=False)
            links = (await control.ask(do="links"))["links"]
            there = next(link for link in links if link["a"] == "alpha")
            assert (there["params"]["rate_kbit_s"], there["params"]["loss"]) == (64, 0.5)
            assert there["count"]["frames"] == 0
            await control.ask(do="fault", fault={"fault": "cut", "a": "alpha", "b": "bravo"})
            assert not net.params()["bravo", "alpha"].up
            await control.ask(do="fault", fault={"fault": "leave", "node": "charlie"})
            nodes = (await control.ask(do="nodes"))["nodes"]
            assert [node["away"] for node in nodes] == [False, False, True]
            assert not any(node["running"] or node["paused"] for node in nodes)
            for request, word in (
                ({"do": "dance"}, "dance"),
                ({"do": "fault", "fault": {"fault": "kill", "node": "zulu"}}, "zulu"),
                ({"do": "fault", "fault": 3}, "malformed"),
                ({"do": "set", "a": "alpha", "b": "bravo", "params": {"loss": 7}}, "between 0 and 1"),
                ({"do": "set", "a": "alpha", "b": "bravo", "params": {"lozz": 7}}, "lozz"),
            ):
                with pytest.raises(MusterError, match=word):
                    await control.ask(**request)
        assert not net.control_path.exists()
        with pytest.raises(MusterError, match="is it running"):
            await Control(net.control_path).__aenter__()

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


# The emulation as a program that starts one program a node; each leaves a child in a session of its own.
EMULATION = """
import asyncio, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
from muster.emulation.emulator import Emulation
from muster.emulation.loopback import LoopbackEmulation
from muster.emulation.scenario import load
rundir = pathlib.Path(sys.argv[1])
kind = {"namespaces": Emulation, "loopback": LoopbackEmulation}[sys.argv[2]]
extra = {"port": int(sys.argv[3])} if sys.argv[2] == "loopback" else {}
node = "sleep 1000 & setsid sleep 1000 & echo $!; echo $$; wait"
async def main():
    async with kind(load("lan-3"), rundir, grace_s=1, **extra) as net:
        for name in net.scenario.names():
            await net.spawn(name, ["sh", "-c", node], stdout=rundir / f"{name}.log")
        while any((rundir / f"{name}.log").read_text().count("\\n") < 2 for name in net.scenario.names()):
            await asyncio.sleep(0.01)
        print(net._air.pid, flush=True)
        await asyncio.sleep(1000)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("kind", ["namespaces", "loopback"])
def test_nothing_is_left_however_the_emulator_ends(tmp_path: Path, number: signal.Signals, kind: str) -> None:
    before = networks()
    words = [str(tmp_path), kind, str(free_port())]
    with subprocess.Popen(
        [sys.executable, "-c", EMULATION, *words], stdout=subprocess.PIPE, text=True
    ) as emulator:
        assert emulator.stdout is not None
        air = int(emulator.stdout.readline())
        pids = [int(word) for log in tmp_path.glob("*.log") for word in log.read_text().split()]
        assert len(pids) == 6
        assert all(alive(pid) for pid in [air, *pids])
        assert (tmp_path / "control.sock").exists()
        mine = {network_of(pid) for pid in [air, *pids]} - before
        assert len(mine) == (4 if kind == "namespaces" else 0)
        emulator.send_signal(number)
        emulator.wait(20)
    wait_for(lambda: not any(alive(pid) for pid in [air, *pids]))
    wait_for(lambda: not mine & networks())
    assert not (tmp_path / "control.sock").exists()


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
from muster.emulation.scenario import load
net, sentence = choose(load("lan-3"), pathlib.Path(sys.argv[1]))
print(type(net).__name__, sentence, sep=chr(10))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    kind, sentence = answer.stdout.splitlines()
    assert kind == "LoopbackEmulation"
    assert "does not let this user make network namespaces" in sentence
    assert answer.stderr == ""
    assert type(choose(two(), tmp_path)[0]) is Emulation
