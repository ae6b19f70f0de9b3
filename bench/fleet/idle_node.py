"""What a node costs that has nothing to do: memory, CPU, bytes on a link, time from start to reachable.

    python bench/fleet/idle_node.py [--minutes 5] [--json FILE]

Two daemons on an emulated link of 60 kbit/s, 5 ms, one of which dials the other.  (With both dialling, as
`muster demo` has it on fast links, idle bytes double and reconnecting takes half the time.)  Bytes are
counted at the emulator, headers included.  Targets: 70 MB, 2.5 kB a minute each way with
12.5 s lease (1.3 kB with 30 s), 0.5 % of a core, 1.5 s from start to reachable.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from pathlib import Path

from muster.emulation.scenario_file import parse
from small_fleet import machine, small_fleet, write

TWO = """
nodes = [{ name = "alpha" }, { name = "bravo" }]
[[links]]
a = "alpha"
b = "bravo"
rate_kbit_s = 60
delay_ms = 5
"""
SETTLE_S = 20.0


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(profile: str, minutes: float) -> dict[str, float | str]:
    async with small_fleet(parse(TWO, "two", "bench"), profile=profile) as fleet:
        await fleet.spawn(0)
        await fleet.until_linked("alpha", 0)
        began_s = time.monotonic()
        await fleet.spawn(1)
        await fleet.until_linked("alpha", 1)
        reachable_s = time.monotonic() - began_s
        await asyncio.sleep(SETTLE_S)
        seen = await fleet.snapshot("bravo")
        assert seen is not None
        before, cpu_before_s, start_s = await fleet.net.counters(), cpu_s(seen.node.pid), time.monotonic()
        await asyncio.sleep(60 * minutes)
        after, cpu_after_s, elapsed_s = (
            await fleet.net.counters(),
            cpu_s(seen.node.pid),
            time.monotonic() - start_s,
        )
        seen = await fleet.snapshot("bravo")
        assert seen is not None
    worst = max(after[pair].bytes - before[pair].bytes for pair in after)
    return {
        "profile": profile,
        "resident_mb": seen.node.memory_bytes / 1e6,
        "cpu_percent": 100 * (cpu_after_s - cpu_before_s) / elapsed_s,
        "kb_per_minute_each_way": worst / elapsed_s * 60 / 1000,
        "start_to_reachable_s": reachable_s,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [asyncio.run(measure(profile, arguments.minutes)) for profile in ("lan", "narrow")]
    print(f"Idle node, {arguments.minutes:g} minutes, on {machine()}\n")
    print("| profile (lease) | resident | CPU | bytes on a link, each way | start to reachable |")
    print("|---|---|---|---|---|")
    for row, lease in zip(rows, ("12.5 s", "30 s"), strict=True):
        print(
            f"| {row['profile']} ({lease}) | {row['resident_mb']:.0f} MB | {row['cpu_percent']:.2f} % "
            f"| {row['kb_per_minute_each_way']:.2f} kB/min | {row['start_to_reachable_s']:.2f} s |"
        )
    write(arguments.json, {"machine": machine(), "rows": rows})


if __name__ == "__main__":
    main()
