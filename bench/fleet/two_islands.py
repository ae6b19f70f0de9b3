"""Two islands with disjoint classes of MNIST, with real processes: the merge against a job never split.

    python bench/fleet/two_islands.py --data MNIST.npz [--nodes 8] [--seeds 0 1 2] [--json FILE]

The story of tests/e2e/islands.py: fork after 5 rounds, 8 rounds apart, 20 steps of batch 64 at lr 0.05,
a CNN of 46,730 parameters, dense fp32; every node on an emulated LAN.  Accuracies are of the
parameters on a node's disk, on the whole evaluation set.  A run ends with an error if the nodes do not hold
one head with the same bits, or if an update is missing from the history or in it twice.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "e2e"))

from islands import live

from small_fleet import machine, write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    print(f"Two islands, {arguments.nodes} nodes, on {machine()}\n")
    heads = ("seed", "islands", "apart", "merge", "+1", "never split", "+5", "never split", "took")
    print("| " + " | ".join(heads) + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    found = []
    for seed in arguments.seeds:
        began_s = time.monotonic()
        told = asyncio.run(live(arguments.data.absolute(), arguments.nodes, seed))
        s = told.story
        print(
            f"| {seed} | {s.islands[0]:.1%}, {s.islands[1]:.1%} | {told.apart[0]}, {told.apart[1]} "
            f"| {s.merged:.1%} | {s.after[0]:.1%} | {s.never_split[0]:.1%} | {s.after[-1]:.1%} "
            f"| {s.never_split[-1]:.1%} | {time.monotonic() - began_s:.0f} s |",
            flush=True,
        )
        found.append({"seed": seed, **asdict(told)})
    write(arguments.json, {"machine": machine(), "nodes": arguments.nodes, "stories": found})


if __name__ == "__main__":
    main()
