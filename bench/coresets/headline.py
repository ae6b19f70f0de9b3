#!/usr/bin/env python3
"""97 % of MNIST over 9.6 kbit/s by one shot, by updates, and by fp32: whole demos with real processes.

    python bench/coresets/headline.py --data mnist.npz --out headline.jsonl
    python bench/coresets/headline.py --out headline.jsonl --report

`muster demo --story narrow`: nine nodes around one, two classes each, 300 ms, 1 % loss, CNN of 6k.  A row is
of one demo with one seed; what is in the file is left out, so that it can be stopped at any time.  Bytes are
what a node's link carried after set-up, everything included, and, in brackets, its encoded messages.  Updates
and fp32 have `--limit` seconds; where they are not at the target then, the row says what they had.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

GRACE_S = 900.0  # beyond the limit: starting, ending, exporting
HUB = "alpha"
KINDS: dict[str, list[str]] = {
    "one shot, 3 kB": ["--one-shot", "--share-bytes", "3kB"],
    "one shot, 9 kB": ["--one-shot", "2400", "--share-bytes", "9kB"],
    "updates": ["--rounds", "1000"],
    "fp32": ["--rounds", "1000", "--codec", "dense32", "--down-codec", "dense32", "--server-momentum", "0.5"],
}


def one(data: Path, kind: str, seed: int, target: float, limit_s: float) -> dict[str, Any]:
    """One demo. Raises SystemExit with its output when it fails."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        report = Path(folder) / "report.json"
        argv = [sys.executable, "-m", "muster.cli.main", "demo", "--story", "narrow", "--plain"]
        argv += ["--no-compare", "--data", str(data), "--seed", str(seed), "--report", str(report)]
        argv += KINDS[kind]
        if not kind.startswith("one shot"):
            argv += ["--target", str(target), "--seconds", str(limit_s)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s + GRACE_S, check=False)
        if done.returncode:
            raise SystemExit(
                f"{kind}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
            )
        return _row(json.loads(report.read_text()), target)


def _row(found: dict[str, Any], target: float) -> dict[str, Any]:
    by_time = found["accuracy_by_time"]
    up = [b for link, b in found["bytes_by_link"].items() if link.endswith(f"->{HUB}")]
    down = [b for link, b in found["bytes_by_link"].items() if link.startswith(f"{HUB}->")]
    nodes = [node for name, node in found["nodes"].items() if name != HUB]
    return {
        "accuracy": found["accuracy"],
        "rounds": found["rounds"],
        "to_target_s": min((s for s, value in by_time if value >= target), default=None),
        "rounds_to_target": _rounds(by_time, target),
        "wall_s": found["wall_s"],
        "up_bytes": statistics.fmean(up),
        "down_bytes": statistics.fmean(down),
        "messages_up_bytes": statistics.fmean(node["sent_bytes"] for node in nodes),
        "messages_down_bytes": statistics.fmean(node["received_bytes"] for node in nodes),
        "payload_bytes": found["bytes_sent"]["payload"] / max(1, len(nodes)),
        "by_time": by_time,
    }


def _rounds(by_time: list[list[float]], target: float) -> int | None:
    """How many commits were measured up to the first at the target; the root is the first of them."""
    return next((i for i, (_, value) in enumerate(by_time) if value >= target), None)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.is_file() else []


def report(found: list[dict[str, Any]]) -> str:
    lines = [
        "| 97 % of MNIST, two classes a node | seed | accuracy | contacts | seconds | up a node | down |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        reached = row["to_target_s"] is not None
        seconds = f"{row['to_target_s']:.0f}" if reached else f"not in {row['wall_s']:.0f}"
        if row["kind"].startswith("one shot"):
            seconds = f"{row['wall_s']:.0f}"  # until all have the model
        contacts = row["rounds_to_target"] if reached else row["rounds"]
        up, down = row["up_bytes"] / 1e3, row["down_bytes"] / 1e3
        lines.append(
            f"| {row['kind']} | {row['seed']} | {100 * row['accuracy']:.1f} | {contacts} | {seconds} "
            f"| {up:.1f} kB ({row['messages_up_bytes'] / 1e3:.1f}) "
            f"| {down:.1f} kB ({row['messages_down_bytes'] / 1e3:.1f}) |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a demo")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--target", type=float, default=0.97)
    parser.add_argument("--limit", type=float, default=900.0, help="seconds that updates and fp32 have")
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    for seed in [] if given.report else given.seeds:
        for kind in given.kinds:
            if any((row["kind"], row["seed"]) == (kind, seed) for row in rows(given.out)):
                continue
            row = {"kind": kind, "seed": seed, **one(given.data, kind, seed, given.target, given.limit)}
            with given.out.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(report([row]).splitlines()[-1], flush=True)
    print(report(rows(given.out)))


if __name__ == "__main__":
    main()
