"""How far rounds are from what their coordinator expected: simulated jobs without a budget that binds.

    python bench/fleet/forecast_error.py [--jobs 100] [--keep FILE] [--json FILE]

simulated_jobs.py has the fleets; each job has 20 rounds.  Rounds from the third on count: until then nothing
is known of the nodes.  Goes on where it stopped with what is in --keep.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from muster.planning.forecast_errors import forecast_errors
from muster.protocol.parts import StopRule
from simulated_jobs import draw, play, resumed

ROUNDS, FIRST = 20, 3
OFF_MOST = 0.3
KEEP = Path(__file__).parents[1] / "results" / "runs" / "forecast_error.jsonl"


def one(seed: int) -> dict[str, Any]:
    fleet = draw(seed)
    seen = play(fleet, StopRule(rounds=ROUNDS))
    pairs = [(r.expected_s, r.was_s) for r in seen.rounds if r.round >= FIRST]
    return {"nodes": len(fleet.spec.nodes), "calm": not fleet.changes, "pairs": pairs, "cpu_s": seen.seconds}


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Over the rounds of all jobs, of those in which nothing changes, and of the others."""
    groups = {
        "all": rows,
        "nothing changes": [r for r in rows if r["calm"]],
        "links change, nodes go away": [r for r in rows if not r["calm"]],
    }
    found = {}
    for name, some in groups.items():
        pairs = [(expected, was) for r in some for expected, was in r["pairs"] if expected and was]
        errors = forecast_errors(pairs)
        if errors is None:
            continue
        near = sum(abs(was / expected - 1.0) <= OFF_MOST for expected, was in pairs) / len(pairs)
        found[name] = {
            "jobs": len(some), "rounds": errors.rounds, "usual": errors.usual, "within": errors.within,
            "near": near,
        }  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--keep", type=Path, default=KEEP)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows = resumed(given.keep, range(given.jobs), one, tell)
    found = report(rows)
    print("| fleets | jobs | rounds | took / expected, median | nine of ten within | within 30 % |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, row in found.items():
        print(
            f"| {name} | {row['jobs']} | {row['rounds']} | {row['usual']:.2f} | {100 * row['within']:.0f} % "
            f"| {100 * row['near']:.1f} % of rounds |"
        )
    if given.json:
        given.json.write_text(json.dumps({"report": found, "rows": rows}))


if __name__ == "__main__":
    main()
