"""Unequal nodes on the emulator with real processes: time to a target, by the planner and by simpler rules.

    python bench/fleet/unequal.py --data MNIST.npz --state FILE [--seeds 0 1 2] [--before SRC]

Eight nodes around one hub: speeds 1 1 1/2 1/2 1/4 1/4 1/8 1/8, links 2 Mbit/s to 128 kbit/s, MNIST, two
classes a node.  In the case `away` two of them are there for 25 s of every 75.  Each rule is a job with
`--target`:

    planned  what `muster demo` does by itself
    equal    20 steps for everybody, and every round waits for all eight (also who is away)
    before   the same command with the sources of an earlier build (--before)

A slower processor is made up by pauses (`slowdown`), so that the fleet computes little on this machine; STEP
times it is how much slower the fastest node is made.  A run that is in FILE is not repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from small_fleet import machine, write

NAMES = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel")
SLOWER = (1, 1, 2, 2, 4, 4, 8, 8)
RATES_KBIT_S = (2000, 1000, 512, 256, 2000, 512, 256, 128)
AWAY = ("charlie", "hotel")
HERE_S, GONE_S = 25, 50
LIMIT_S = 1500
RULES = ("planned", "equal", "before")
# Python runs this first in every process of the fleet: nobody is asked for fewer steps, however slow.
EQUAL = """
import muster.planning.rounds as rounds
rounds.ROUND_SLACK, rounds.STEPS_SHARE_MIN = 1e9, 1.0
"""


def scenario(case: str, slowest: float) -> str:
    """The TOML of the fleet."""
    lines = [f'text = "Eight unequal nodes around a hub ({case})."', "nodes = ["]
    gone = f", away = {{ period_s = {HERE_S + GONE_S}, fraction = {GONE_S / (HERE_S + GONE_S):.3f} }}"
    for name, slower in zip(NAMES, SLOWER, strict=True):
        away = gone if case == "away" and name in AWAY else ""
        lines.append(f'  {{ name = "{name}", slowdown = {slowest * slower:g}{away} }},')
    lines += ["]", ""]
    for name, rate in zip(NAMES[1:], RATES_KBIT_S[1:], strict=True):
        lines += ["[[links]]", f'a = "alpha"\nb = "{name}"', f"rate_kbit_s = {rate}", "delay_ms = 50", ""]
    return "\n".join(lines)


def run(case: str, rule: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One demo; seconds until the target was reached first, by the job's own clock."""
    with tempfile.TemporaryDirectory(prefix="muster-unequal-") as folder:
        place = Path(folder)
        (place / "unequal.toml").write_text(scenario(case, given.step), "utf-8")
        report = place / "report.json"
        words = ["demo", "--plain", "--no-compare", "--task", "mnist", "--data", str(given.data.absolute())]
        words += ["--split", "classes:2", "--seed", str(seed), "--scenario", str(place / "unequal.toml")]
        words += ["--target", str(given.target), "--report", str(report), "--keep", str(place / "run")]
        paths = [os.environ.get("PYTHONPATH", "")]
        if rule == "equal":
            words += ["--steps", "20", "--min-nodes", str(len(NAMES))]
            (place / "first").mkdir()
            (place / "first" / "sitecustomize.py").write_text(EQUAL, "utf-8")
            paths.insert(0, str(place / "first"))
        if rule == "before":
            paths = [str(given.before.absolute())]
        argv = [sys.executable, "-m", "muster.cli.main", *words]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        row: dict[str, Any] = {"case": case, "rule": rule, "seed": seed, "seconds": None}
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=given.limit, env=env)
        except subprocess.TimeoutExpired:
            return row | {"why": f"not within {given.limit:g} s"}
        if done.returncode:
            return row | {"why": done.stderr[-300:]}
        found = json.loads(report.read_text())
        reached = [s for s, accuracy in found["accuracy_by_time"] if accuracy >= given.target]
        return row | {
            "seconds": min(reached, default=None), "rounds": found["rounds"], "accuracy": found["accuracy"],
            "wall_s": found["wall_s"], "megabytes": sum(found["bytes_by_link"].values()) / 1e6,
            "load": round(os.getloadavg()[0], 1),
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=("all", "away"), default=["all", "away"])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=["planned", "equal"])
    parser.add_argument("--before", type=Path, help="the folder src of an earlier build")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--target", type=float, default=0.9)
    parser.add_argument("--step", type=float, default=8.0, help="how much slower the fastest node is made")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds of one run at most")
    parser.add_argument("--state", type=Path, help="what was measured before, and where to put what is new")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    done = json.loads(given.state.read_text()) if given.state and given.state.exists() else []
    print(f"MNIST, two classes a node, to {given.target:.0%}, on {machine()}\n")
    print("| case | seed | rule | seconds | rounds | MB | load |\n|---|---|---|---|---|---|---|")
    for seed in given.seeds:
        for case in given.cases:
            for rule in given.rules:
                key = {"case": case, "rule": rule, "seed": seed}
                row = next((r for r in done if key.items() <= r.items()), None)
                if row is None:
                    row = run(case, rule, seed, given)
                    done.append(row)
                    write(given.state, done)
                seconds = "-" if row["seconds"] is None else f"{row['seconds']:.0f}"
                print(
                    f"| {case} | {seed} | {rule} | {seconds} | {row.get('rounds', '-')} "
                    f"| {row.get('megabytes', 0):.1f} | {row.get('load', '-')} |",
                    flush=True,
                )
    write(given.json, {"machine": machine(), "rows": done})


if __name__ == "__main__":
    main()
