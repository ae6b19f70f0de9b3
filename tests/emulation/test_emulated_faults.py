"""Faults on an emulated network: by a call, by the schedule, by the control socket."""

from __future__ import annotations

import asyncio
import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from two_nodes import alive, echo, ping, two, wait_for

from muster.emulation.client import EmulationClient
from muster.emulation.emulator import Emulation
from muster.emulation.node_process import NodeProcess
from muster.emulation.scenario_file import parse
from muster.errors import MusterError
from muster.simulation import faults
from patience import patient_s

pytestmark = pytest.mark.e2e


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
    async with asyncio.timeout(patient_s(10)):
        while await process.stdout.readline() != wanted:
            pass


def test_a_full_disk_takes_nothing_before_and_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        full = b"failed %d\n" % errno.EFBIG
        async with Emulation(two(), tmp_path) as net, EmulationClient(net.control_path) as control:
            words = [sys.executable, "-c", WRITER, str(tmp_path / "file")]
            writer = await net.spawn("alpha", words, stdout=subprocess.PIPE)
            await until_line(writer, b"wrote\n")
            await net.apply(faults.FillDisk("alpha"))
            await until_line(writer, full)
            nodes = (await control.ask("nodes"))["nodes"]
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
        async with Emulation(scenario, tmp_path) as net, asyncio.timeout(patient_s(10)):
            while not (net.is_away("alpha") and net.params()["alpha", "bravo"].rate_kbit_s == 9.6):
                await asyncio.sleep(0.01)
            assert not net.is_away("bravo")

    asyncio.run(main())


def test_the_control_socket_reads_and_changes(tmp_path: Path) -> None:
    async def main() -> None:
        net = Emulation(two("loss = 0.5"), tmp_path)
        async with net, EmulationClient(net.control_path) as control:
            await control.ask("set", a="alpha", b="bravo", params={"rate_kbit_s": 64}, both=False)
            links = (await control.ask("links"))["links"]
            there = next(link for link in links if link["a"] == "alpha")
            assert (there["params"]["rate_kbit_s"], there["params"]["loss"]) == (64, 0.5)
            assert there["count"]["frames"] == 0
            await control.ask("fault", fault={"fault": "cut", "a": "alpha", "b": "bravo"})
            assert not net.params()["bravo", "alpha"].up
            await control.ask("fault", fault={"fault": "leave", "node": "charlie"})
            nodes = (await control.ask("nodes"))["nodes"]
            assert [node["away"] for node in nodes] == [False, False, True]
            assert not any(node["running"] or node["paused"] for node in nodes)
            for request, word in (
                ({"op": "dance"}, "dance"),
                ({"op": "fault", "fault": {"fault": "kill", "node": "zulu"}}, "zulu"),
                ({"op": "fault", "fault": 3}, "malformed"),
                ({"op": "set", "a": "alpha", "b": "bravo", "params": {"loss": 7}}, "between 0 and 1"),
                ({"op": "set", "a": "alpha", "b": "bravo", "params": {"lozz": 7}}, "lozz"),
            ):
                with pytest.raises(MusterError, match=word):
                    await control.ask(**request)
        assert not net.control_path.exists()
        with pytest.raises(MusterError, match="is it running"):
            await EmulationClient(net.control_path).__aenter__()

    asyncio.run(main())
