"""Whole demos over several seeds: accuracy, rounds, time, and what crosses the bridge of field-8.

    python bench/fleet/demo_accuracy.py --task digits --seeds 0 1 2 3 4
    python bench/fleet/demo_accuracy.py --task mnist --data MNIST.npz --split classes:2 --seeds 0 1 2
    python bench/fleet/demo_accuracy.py --task mnist --data MNIST.npz --split iid --target 0.95 --seeds 0
    python bench/fleet/demo_accuracy.py --task digits --scenario field-8-lossy --seeds 0

Each run is `muster demo` with real processes.  `bridge`: bytes that crossed delta - echo in a round, headers
and everything else included, against one model one way and one update of each of the four nodes behind it the
other way (update size as sent, counted from the history).  With `--parallel N` N demos share the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from small_fleet import machine, write

BEHIND = ("echo", "foxtrot", "golf", "hotel")
LIMIT_S = 1800


@dataclass(frozen=True)
class Row:
    seed: int
    accuracy: float
    best_single: float | None
    pooled: float | None
    rounds: int
    wall_s: float
    to_target_s: float | None
    bridge_ratio: float | None
    bridge_kilobytes: float
    megabytes: float


def run(arguments: argparse.Namespace, seed: int) -> Row | None:
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        report = Path(folder) / "report.json"
        words = ["demo", "--plain", "--task", arguments.task, "--split", arguments.split, "--seed", str(seed)]
        words += ["--scenario", arguments.scenario, "--report", str(report), "--keep", f"{folder}/run"]
        for name in ("data", "rounds", "target", "codec"):
            value = getattr(arguments, name)
            words += [f"--{name}", str(value)] if value is not None else []
        words += [] if arguments.compare else ["--no-compare"]
        argv = [sys.executable, "-m", "muster.cli.main", *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        if done.returncode:
            print(f"seed {seed} failed: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
            return None
        found = json.loads(report.read_text())
    to_target = None
    if arguments.target is not None:
        reached = [s for s, accuracy in found["accuracy_by_time"] if accuracy >= arguments.target]
        to_target = min(reached, default=None)
    return Row(
        seed,
        found["accuracy"],
        found["accuracy_best_single"],
        found["accuracy_pooled"],
        found["rounds"],
        found["wall_s"],
        to_target,
        bridge_ratio(found),
        sum(crossing(found)) / 1e3,
        sum(found["bytes_by_link"].values()) / 1e6,
    )


def crossing(found: dict) -> list[int]:
    """Bytes over the bridge in either direction, headers included."""
    return [n for pair, n in found["bytes_by_link"].items() if set(pair.split("->")) == {"delta", "echo"}]


def bridge_ratio(found: dict) -> float | None:
    """Bytes over the bridge against the model down and the updates up, of the whole job."""
    crossed = crossing(found)
    if not crossed or not found.get("model_bytes"):
        return None
    up = sum(n["sent_bytes"] for name, n in found["nodes"].items() if name in BEHIND)
    return sum(crossed) / (found["rounds"] * found["model_bytes"] + up)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="digits")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split", default="classes:2")
    parser.add_argument("--scenario", default="field-8")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--target", type=float)
    parser.add_argument("--codec")
    parser.add_argument("--compare", action="store_true", help="also train alone and pooled")
    parser.add_argument("--parallel", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with ThreadPoolExecutor(arguments.parallel) as pool:
        ended = list(pool.map(lambda seed: run(arguments, seed), arguments.seeds))
    rows = [row for row in ended if row is not None]
    if not rows:
        raise SystemExit("no run ended well")
    print(f"{arguments.task}, {arguments.split}, {arguments.scenario}, on {machine()}\n")
    print("| seed | accuracy | alone | pooled | rounds | time | to the target | bridge | | on the air |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r.seed} | {r.accuracy:.1%} | {_or(r.best_single, '.1%')} | {_or(r.pooled, '.1%')} "
            f"| {r.rounds} | {r.wall_s:.0f} s | {_or(r.to_target_s, '.0f')} | {_or(r.bridge_ratio, '.2f')} "
            f"| {r.bridge_kilobytes:.0f} kB | {r.megabytes:.1f} MB |"
        )
    accuracies = [r.accuracy for r in rows]
    failed = len(ended) - len(rows)
    print(f"\n{failed} of {len(ended)} failed" if failed else "", end="")
    print(f"\nmedian {statistics.median(accuracies):.1%}, worst {min(accuracies):.1%}")
    write(arguments.json, {"machine": machine(), "rows": [asdict(r) for r in rows]})


def _or(value: float | None, how: str) -> str:
    return "-" if value is None else format(value, how)


if __name__ == "__main__":
    main()
