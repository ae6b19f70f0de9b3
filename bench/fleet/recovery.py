"""How long a job stands still when its coordinator is gone (target: `patience` and two round times on a LAN).

    python bench/fleet/recovery.py [--patience 10 20] [--times 5] [--json FILE]

Three daemons on an emulated LAN (100 Mbit/s, 0.5 ms) train tests/e2e/calm.py: `digits` with a rest in every
step, so that a round takes about a second.  Some time into a round, drawn from a seed, every process of the
coordinating node is killed with SIGKILL; measured is the time until a survivor holds a commit of a later
round.  A round's time is the median between the commits before.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from muster.emulation.scenario_file import load
from muster.node.api.snapshot import JobSnapshot
from muster.simulation.faults import Kill
from small_fleet import SmallFleet, machine, small_fleet, write

CALM = Path(__file__).parents[2] / "tests" / "e2e" / "calm.py"
ROUND = 4  # the coordinator is killed after so many
LIMIT_S = 120.0
LOOK_S = 0.02


@dataclass(frozen=True)
class Loss:
    patience_s: float
    round_s: float
    recovery_s: float
    coordinator: str  # who went on

    @property
    def target_s(self) -> float:
        return self.patience_s + 2 * self.round_s


async def at_round(fleet: SmallFleet, name: str, job: str, number: int) -> JobSnapshot:
    async with asyncio.timeout(LIMIT_S):
        while True:
            seen = await fleet.snapshot(name)
            for view in seen.jobs if seen else ():
                if view.id == job and view.round >= number:
                    return view
            await asyncio.sleep(LOOK_S)


async def lose(patience_s: float, seed: int) -> Loss:
    async with small_fleet(load("lan-3"), str(CALM)) as fleet:
        for number in range(3):
            await fleet.spawn(number)
        await fleet.until_linked("alpha", 2)
        client = fleet.client("alpha")
        job = await asyncio.to_thread(
            lambda: client.train("calm", rounds=1000, min_nodes=2, patience_s=patience_s)
        )
        await at_round(fleet, "bravo", job, ROUND)
        commits = (await asyncio.to_thread(fleet.client("bravo").log, job)).commits
        ages = [c.age_s for c in commits if c.round >= 1]  # the first round has the start-up in it
        round_s = statistics.median(b - a for a, b in itertools.pairwise(ages))
        await asyncio.sleep(random.Random(seed).uniform(0, round_s))
        seen = await at_round(fleet, "bravo", job, ROUND)
        assert seen.coordinator == "alpha", seen.coordinator
        began_s = time.monotonic()
        await fleet.net.apply(Kill("alpha"))
        seen = await at_round(fleet, "bravo", job, ROUND)  # what was committed before the end came
        after = await at_round(fleet, "bravo", job, seen.round + 1)
        return Loss(patience_s, round_s, time.monotonic() - began_s, after.coordinator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--patience", type=float, nargs="+", default=[10.0, 20.0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    losses: list[Loss] = []
    for seed in range(arguments.times):
        for patience_s in arguments.patience:
            losses.append(asyncio.run(lose(patience_s, seed)))
            print(f"{losses[-1]}", file=sys.stderr, flush=True)
    print(f"Recovery after the loss of the coordinator, on {machine()}\n")
    print("| patience | times | round | recovery: median | worst | target (median) | missed |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for patience_s in arguments.patience:
        some = [loss for loss in losses if loss.patience_s == patience_s]
        took = [loss.recovery_s for loss in some]
        print(
            f"| {patience_s:g} s | {len(some)} | {statistics.median(x.round_s for x in some):.2f} s "
            f"| {statistics.median(took):.1f} s | {max(took):.1f} s "
            f"| {statistics.median(x.target_s for x in some):.1f} s "
            f"| {sum(x.recovery_s > x.target_s for x in some)} |"
        )
    write(arguments.json, {"machine": machine(), "losses": [asdict(loss) for loss in losses]})


if __name__ == "__main__":
    main()
