"""What a round costs beyond computing and moving bytes (target: under 1 s on LAN links).

    python bench/fleet/round_overhead.py [--rounds 20] [--json FILE]

Three daemons on an emulated LAN (100 Mbit/s, 0.5 ms) train `digits`.  A round's overhead is the time between
two commits less the longest training of that round (as the nodes report it, measuring included) less the
physical minimum of its transfers (model down and updates up at the link's rate, two delays each way).
"""

from __future__ import annotations

import argparse
import asyncio
import re
import statistics
from pathlib import Path

from muster.emulation.scenario_file import load
from muster.node.api.client import LogView
from small_fleet import SmallFleet, machine, small_fleet, write

TRAINED = re.compile(r"for round (\d+) in ([0-9.]+) s")
RATE_BITS_S, DELAY_S = 100e6, 0.0005
LIMIT_S = 180.0


async def trained_s(fleet: SmallFleet, name: str) -> dict[int, float]:
    """Round -> seconds that the node trained for it."""
    text = await asyncio.to_thread((fleet.rundir / name / "output.log").read_text)
    return {int(m[1]): float(m[2]) for m in TRAINED.finditer(text)}


async def run(rounds: int) -> tuple[LogView, list[dict[int, float]]]:
    scenario = load("lan-3")
    async with small_fleet(scenario) as fleet:
        for number in range(3):
            await fleet.spawn(number)
        await fleet.until_linked("alpha", 2)
        client = fleet.client("alpha")
        client.timeout_s = 60.0
        job = await asyncio.to_thread(lambda: client.train("digits", rounds=rounds, min_nodes=3))
        async with asyncio.timeout(LIMIT_S):
            while (await asyncio.to_thread(client.log, job)).job.state == "running":
                await asyncio.sleep(0.5)
        log = await asyncio.to_thread(client.log, job)
        return log, [await trained_s(fleet, name) for name in scenario.names()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    log, trained = asyncio.run(run(arguments.rounds))
    parameters_bytes = 4 * 2730 + 16
    transfer_s = 2 * (parameters_bytes * 8 * 2 / RATE_BITS_S) + 4 * DELAY_S
    overheads = []
    for before, after in zip(log.commits[1:-1], log.commits[2:], strict=True):  # the first round is set-up
        compute_s = max(t.get(after.round, 0.0) for t in trained)
        overheads.append(after.age_s - before.age_s - compute_s - transfer_s)
    print(f"Round overhead over {len(overheads)} rounds, on {machine()}\n")
    print("| median | 90th percentile | worst |")
    print("|---|---|---|")
    ordered = sorted(overheads)
    p90 = ordered[int(0.9 * (len(ordered) - 1))]
    print(f"| {statistics.median(overheads):.2f} s | {p90:.2f} s | {ordered[-1]:.2f} s |")
    write(arguments.json, {"machine": machine(), "overhead_s": overheads})


if __name__ == "__main__":
    main()
