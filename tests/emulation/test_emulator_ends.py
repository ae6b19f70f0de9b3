"""Nothing is left behind, however the emulator ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from two_nodes import alive, free_port, wait_for

from patience import patient_s

pytestmark = pytest.mark.e2e


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


# The emulation as a program that starts one program a node; each leaves a child in a session of its own.
EMULATION = """
import asyncio, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have it ignored
from muster.emulation.emulator import Emulation
from muster.emulation.loopback import LoopbackEmulation
from muster.emulation.scenario_file import load
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
        print(net._carrier.pid, flush=True)
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
        emulator.wait(patient_s(20))
    wait_for(lambda: not any(alive(pid) for pid in [air, *pids]))
    wait_for(lambda: not mine & networks())
    assert not (tmp_path / "control.sock").exists()
