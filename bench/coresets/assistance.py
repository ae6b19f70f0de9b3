#!/usr/bin/env python3
"""A slow node asks: seconds to a target of MNIST alone, and with helpers that have power and no data.

    python bench/coresets/assistance.py --data mnist.npz --out assistance.jsonl
    python bench/coresets/assistance.py --out assistance.jsonl --report

`muster demo` on the emulator, real processes: alpha has all 60,000 images and computes at an eighth of this
machine's speed (`[trainer] slowdown = 8`), the others at full speed and have none (`own_data = false`).
alpha has a link of 1 Mbit/s and 20 ms to each of them.  CNN of 29k parameters, or another one of the task.
The same command with `--share none` is alone; both take plain steps, a hundred a round (of few steps a round
alone would wait for its figures most of the time).  A row is of one demo; what is in the file is left out, so
that it can be stopped at any time.  Seconds are of the
job's own clock: what asking, measuring and sharing took is in them.
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

GRACE_S = 300.0  # beyond the limit: starting, ending, exporting
HELPERS = ("bravo", "charlie", "delta")
SLOWER = 8
KINDS = {"alone": 1, "one helper": 1, "three helpers": 3}  # how many others are in reach


def scenario(helpers: int, kbit_s: float, model: str) -> str:
    """The TOML of the fleet."""
    asker = f'data = {{ model = "{model}", part = 0, parts = 1 }}'
    asker += ', policy = { share = "samples", share_kb = 1000 }'
    nodes = [f'  {{ name = "alpha", slowdown = {SLOWER}, {asker} }},']
    nodes += [
        f'  {{ name = "{name}", data = {{ model = "{model}", own_data = false }} }},'
        for name in HELPERS[:helpers]
    ]
    text = ['text = "A slow node with data, and helpers without."', "nodes = [", *nodes, "]"]
    for name in HELPERS[:helpers]:
        text += ["[[links]]", f'a = "alpha"\nb = "{name}"', f"rate_kbit_s = {kbit_s:g}", "delay_ms = 20"]
    return "\n".join(text) + "\n"


def one(kind: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """One demo. Raises SystemExit with its output when it fails."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        place = Path(folder)
        (place / "assistance.toml").write_text(scenario(KINDS[kind], given.kbit_s, given.model), "utf-8")
        report = place / "report.json"
        argv = [sys.executable, "-m", "muster.cli.main", "demo", "--plain", "--no-compare", "--no-page"]
        argv += ["--scenario", str(place / "assistance.toml"), "--task", "mnist"]
        argv += ["--data", str(given.data.absolute()), "--seed", str(seed)]
        argv += ["--lr", str(given.lr), "--batch", str(given.batch), "--server-momentum", "0"]
        argv += ["--steps", str(given.steps)]
        argv += ["--share", "none" if kind == "alone" else "auto", "--report", str(report)]
        argv += ["--target", str(given.target), "--seconds", str(given.limit)]
        if given.keep is not None:
            argv += ["--keep", str(given.keep / f"{kind.replace(' ', '-')}-{seed}")]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=given.limit + GRACE_S, check=False
        )
        if done.returncode:
            raise SystemExit(
                f"{kind}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
            )
        found = json.loads(report.read_text())
        by_time = found["accuracy_by_time"]
        return {
            "seconds": min((s for s, value in by_time if value >= given.target), default=None),
            "accuracy": found["accuracy"], "rounds": found["rounds"], "wall_s": found["wall_s"],
            "steps_done": {name: node["steps"] for name, node in found["nodes"].items()},
            "bytes_by_link": found["bytes_by_link"], "by_time": by_time, "load": round(os.getloadavg()[0], 1),
        }  # fmt: skip


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.is_file() else []


def report(found: list[dict[str, Any]]) -> str:
    same = ("model", "batch", "lr", "steps", "kbit_s", "target", "seed")
    alone = {tuple(r[k] for k in same): r["seconds"] for r in found if r["kind"] == "alone"}
    lines = [
        "| model, batch | target | seed | | seconds | times as soon | accuracy | rounds | MB | load |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        before = alone.get(tuple(row[k] for k in same))
        both = before is not None and row["seconds"] is not None
        seconds = "-" if row["seconds"] is None else f"{row['seconds']:.1f}"
        times = f"{before / row['seconds']:.1f}" if both else "-"
        what = f"{row['model']}, {row['batch']} | {row['target']:.0%} | {row['seed']} | {row['kind']}"
        lines.append(
            f"| {what} | {seconds} | {times} | {100 * row['accuracy']:.1f} "
            f"| {row['rounds']} | {sum(row['bytes_by_link'].values()) / 1e6:.2f} | {row['load']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--model", default="cnn29k")
    parser.add_argument("--target", type=float, default=0.97)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100, help="of a round, at all nodes")
    parser.add_argument("--kbit-s", type=float, default=1000.0)
    parser.add_argument("--limit", type=float, default=400.0, help="seconds that a job has")
    parser.add_argument("--keep", type=Path, help="a folder for what the nodes leave behind")
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    for seed in [] if given.report else given.seeds:
        for kind in given.kinds:
            key = {"kind": kind, "seed": seed, "model": given.model, "target": given.target}
            key |= {"kbit_s": given.kbit_s, "batch": given.batch, "lr": given.lr, "steps": given.steps}
            if any(key.items() <= row.items() for row in rows(given.out)):
                continue
            row = {**key, **one(kind, seed, given)}
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(report([row]).splitlines()[-1], flush=True)
    print(report(rows(given.out)))


if __name__ == "__main__":
    main()
