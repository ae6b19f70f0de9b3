"""What one more node costs: simulated jobs of 3 to 1,000 nodes, and a follower's memory of a long history.

Run: python bench/scale/scale.py [--sizes 3,10,30,100,300] [--shapes groups,mesh] [--idle 700] [--rounds 6]

Each size and shape is measured by a process of its own and kept in bench/scale/measured.json, so that a run
that was ended goes on where it was; delete a row there to measure it again.  `--idle`: also 300 nodes that
train in a job of 300 and so many more that only follow.  docs/scale.md shows the table (`--table`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "measured.json"
COLUMNS = (
    ("nodes", "nodes", "{:.0f}"), ("shape", "links", "{}"), ("in_round", "in a round", "{:.0f}"),
    ("node_bytes", "bytes a node and round", "{:,.0f}"), ("node_bytes_most", "of the busiest", "{:,.0f}"),
    ("commit_bytes", "bytes of a commit", "{:,.0f}"),
    ("cpu_ms_node_round", "CPU ms a node and round", "{:.1f}"),
    ("plan_s", "s to plan", "{:.3f}"), ("kb_node_round", "kB of memory a node and round", "{:.0f}"),
)  # fmt: skip


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sizes", default="3,10,30,100,300")
    parser.add_argument("--shapes", default="groups,mesh")
    parser.add_argument("--idle", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", nargs=4, metavar=("NODES", "SHAPE", "ROUNDS", "IDLE"))
    options = parser.parse_args(arguments)
    if options.one:
        from simulated import measured

        nodes, shape, rounds, idle = options.one
        print(json.dumps(measured(int(nodes), shape, int(rounds), idle=int(idle))))
        return 0
    found: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    if not options.table:
        wanted = [(int(n), shape, 0) for n in options.sizes.split(",") for shape in options.shapes.split(",")]
        wanted += [(300, "groups", options.idle)] if options.idle else []
        for nodes, shape, idle in wanted:
            _measure(found, nodes, shape, options.rounds, idle)
    print(table(found))
    return 0


def _measure(found: dict[str, Any], nodes: int, shape: str, rounds: int, idle: int) -> None:
    key = f"{shape}/{nodes}" + (f"+{idle}" if idle else "")
    if key in found:
        return
    one = [sys.executable, str(HERE / "scale.py"), "--one", str(nodes), shape, str(rounds), str(idle)]
    done = subprocess.run(one, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{key}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return
    found[key] = {"shape": shape, **json.loads(done.stdout.splitlines()[-1])}
    RESULTS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{key}: {found[key]}", flush=True)


def table(found: dict[str, Any]) -> str:
    rows = sorted((row for row in found.values()), key=lambda row: (row["shape"], row["nodes"]))
    lines = ["| " + " | ".join(title for _, title, _ in COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(form.format(row[key]) for key, _, form in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
