"""How well jobs keep to their budgets: 300 simulated jobs, with budgets in seconds, bytes or joules.

    python bench/fleet/budgets_kept.py [--jobs 300] [--keep FILE] [--json FILE]

simulated_jobs.py has the fleets.  Each job has one or two budgets, of all nodes or of each, which allow some
6 to 30 rounds; every fourth has a fixed number of steps, every fifth a fixed codec.  "used" is the largest
share of a budget that was used (of a budget for each node: the mean over nodes), "over" by how much any
budget, also of any one node, was overspent.  Goes on where it stopped with what is in --keep.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from muster.protocol.parts import StopRule
from simulated_jobs import Fleet, Seen, draw, log_uniform, play, resumed

KINDS = ("seconds", "bytes", "joules", "bytes_node", "joules_node")
OVER_MOST, USED_LEAST = 0.02, 0.9


def budget(fleet: Fleet, rng: random.Random, kind: str) -> float:
    """An amount that allows some tens of rounds."""
    nodes, rounds = len(fleet.spec.nodes), log_uniform(rng, 6, 30)
    slowest = max(n.step_s for n in fleet.spec.nodes)
    round_s = (
        1.0 + 5 * slowest + 0.1 * fleet.dense_bytes / min(w.params.rate_bytes_s for w in fleet.spec.links)
    )
    round_j = round_s * max(n.power.train_w for n in fleet.spec.nodes if n.power is not None)
    one = {"seconds": round_s, "bytes": 0.2 * fleet.dense_bytes, "joules": round_j}[
        kind.removesuffix("_node")
    ]
    return one * rounds * (nodes if kind in ("bytes", "joules") else 1)


def rule(fleet: Fleet, rng: random.Random) -> StopRule:
    found = {kind: budget(fleet, rng, kind) for kind in rng.sample(KINDS, rng.choice((1, 1, 2)))}
    whole = {kind: round(amount) if kind.startswith("bytes") else amount for kind, amount in found.items()}
    return StopRule(**whole)  # type: ignore[arg-type]


def shares(seen: Seen, stop: StopRule) -> dict[str, tuple[float, float]]:
    """Of each budget: what part of it was used, and the largest part by one node where each has its own."""
    found: dict[str, tuple[float, float]] = {}
    for kind in KINDS:
        most = getattr(stop, kind)
        if most is None:
            continue
        if kind == "seconds":
            used = (seen.age_s / most,)
        else:
            spent = list(getattr(seen, kind.removesuffix("_node")).values()) or [0.0]
            used = tuple(s / most for s in spent) if kind.endswith("_node") else (sum(spent) / most,)
        found[kind] = statistics.mean(used), max(used)
    return found


def one(seed: int) -> dict[str, Any]:
    fleet, rng = draw(seed), random.Random(f"budget/{seed}")
    stop = rule(fleet, rng)
    steps = rng.choice((5, 20)) if rng.random() < 0.25 else 0
    codec = rng.choice(("stc:0.05", "quant8")) if rng.random() < 0.2 else "auto"
    seen = play(fleet, stop, steps=steps, codec=codec)
    used = shares(seen, stop)
    binding = max(used, key=lambda kind: used[kind][0])
    return {
        "nodes": len(fleet.spec.nodes), "calm": not fleet.changes, "steps": steps, "codec": codec,
        "budgets": {kind: getattr(stop, kind) for kind in used}, "binding": binding,
        "used": used[binding][0], "over": max(most for _, most in used.values()) - 1.0,
        "rounds": seen.round, "why": seen.why, "age_s": seen.age_s, "cpu_s": seen.seconds,
    }  # fmt: skip


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures over all jobs and by what bound them."""
    groups = {"all": rows} | {kind: [r for r in rows if r["binding"] == kind] for kind in KINDS}
    return {
        name: {
            "jobs": len(some),
            "overspent": sum(r["over"] > OVER_MOST for r in some),
            "over_most": max(r["over"] for r in some),
            "used_median": statistics.median(r["used"] for r in some),
            "rounds_median": statistics.median(r["rounds"] for r in some),
        }
        for name, some in groups.items()
        if some
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument(
        "--keep", type=Path, default=Path(__file__).parents[1] / "results/runs/budgets_kept.jsonl"
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows = resumed(given.keep, range(given.first, given.first + given.jobs), one, tell)
    found = report(rows)
    print("| budget that bound | jobs | overspent by more than 2 % | most | used, median | rounds, median |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, row in found.items():
        print(
            f"| {name} | {row['jobs']} | {row['overspent']} | {100 * row['over_most']:+.1f} % "
            f"| {100 * row['used_median']:.1f} % | {row['rounds_median']:.0f} |"
        )
    for row in rows:
        if row["over"] > OVER_MOST or row["used"] < USED_LEAST:
            print(
                f"seed {row['seed']}: {row['budgets']}: {100 * row['used']:.0f} % used, "
                f"{row['rounds']} rounds: {row['why']}"
            )
    if given.json:
        given.json.write_text(json.dumps({"report": found, "rows": rows}))


if __name__ == "__main__":
    main()
