#!/usr/bin/env python3
"""The learning rate that a job without one finds, against the best of a grid.

    python bench/learning/range_test.py --state FILE [--quick] [--seeds 3] [--task NAME ...] [--json FILE]

Each task is trained federated (five nodes, two classes each and i.i.d., ten local steps a round, no round
momentum, dense messages) at each rate of a grid, and at the rate that the test finds on the first node's
data.  The target is the held-out loss that the best rate of the grid has reached at half of the rounds; what
is compared is rounds to it, between rounds by a straight line.  A run that never gets there counts as twice
all rounds.  The seed draws data, split and model.  With `--state` a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch

import local_simulation
import range_tasks
from muster.learning import params, range_test
from muster.learning.evaluation import evaluate
from muster.protocol.parts import Recipe
from range_tasks import Cell

HOPELESS = 1e3  # times the loss of the start: the run is ended
QUICK = ("digits MLP", "least squares")
USUAL_LR = 0.05

Key = tuple[str, str, int]  # task, split, seed


@dataclass
class Runs:
    """What is known of one task under one split and seed: held-out loss after each round, from the start."""

    grid: dict[float, list[float]]
    found: dict[str, Any] | None = None


def train(cell: Cell, seed: int, lr: float) -> list[float]:
    """The held-out loss before round 1 and after each; shorter where it is hopeless."""
    conditions = local_simulation.Conditions((0.0,) * range_tasks.NODES, (1.0,) * range_tasks.NODES)
    recipe = Recipe(
        lr, cell.batch, cell.steps, seed, codec="dense32", down_codec="dense32", server_momentum=0.0
    )
    model = params.fresh_model(cell.task, seed)
    layout = params.layout_of(model)
    losses = [evaluate(cell.task, model, cell.held_out).loss]
    try:
        for arrays in local_simulation.models(cell.task, cell.parts, recipe, cell.rounds, conditions):
            params.load_into(model, layout, arrays)
            losses.append(evaluate(cell.task, model, cell.held_out).loss)
            if not losses[-1] <= HOPELESS * losses[0]:
                break
    except Exception:  # a node's loss, or its update, is not finite any more
        losses.append(math.nan)
    return losses


def find(cell: Cell, seed: int) -> dict[str, Any]:
    """What the range test says on the first node, and where training gets with it."""
    began_s = time.perf_counter()
    found = range_test.find_rate(
        cell.task, lambda: params.fresh_model(cell.task, seed), cell.parts[0],
        batch=cell.batch, momentum=0.0, seed=seed, seconds=600.0,
    )  # fmt: skip
    seconds = time.perf_counter() - began_s
    lr = USUAL_LR if found.lr is None else found.lr
    return {
        "lr": lr, "steps": found.steps, "seconds": seconds, "why": found.why, "curve": train(cell, seed, lr)
    }  # fmt: skip


# ---- what is known -----------------------------------------------------------------------------------


def read(state: Path | None) -> dict[Key, Runs]:
    known: dict[Key, Runs] = defaultdict(lambda: Runs({}))
    if state is not None and state.exists():
        for line in state.read_text("utf-8").splitlines():
            entry = json.loads(line)
            *key, rate = entry["key"]
            _keep(known, tuple(key), rate, entry["what"])
    return known


def _keep(known: dict[Key, Runs], key: Any, rate: float | str, what: Any) -> None:
    if isinstance(rate, str):
        known[key].found = what
    else:
        known[key].grid[rate] = what


def measure(state: Path | None, tasks: list[str], seeds: int) -> dict[Key, Runs]:
    """All runs, those of `state` taken from there, the others added to it."""
    known = read(state)
    for seed in range(seeds):
        for name in tasks:
            for split in range_tasks.SPLITS:
                key, runs = (name, split, seed), known[name, split, seed]
                cell = range_tasks.MAKERS[name](split, seed)
                for rate in ("found", *cell.rates):
                    if rate in runs.grid or (rate == "found" and runs.found is not None):
                        continue
                    what = find(cell, seed) if isinstance(rate, str) else train(cell, seed, rate)
                    _keep(known, key, rate, what)
                    print(*key, rate, flush=True, file=sys.stderr)
                    if state is not None:
                        with state.open("a", encoding="utf-8") as file:
                            file.write(json.dumps({"key": [*key, rate], "what": what}) + "\n")
    return {key: runs for key, runs in known.items() if key[0] in tasks and key[2] < seeds}


# ---- what it says ------------------------------------------------------------------------------------


def rounds_to(losses: list[float], target: float) -> float | None:
    """Rounds until the loss is `target`, with a part of a round; None: never."""
    before = losses[0]
    for number, loss in enumerate(losses[1:]):
        if loss <= target:
            return number + (before - target) / (before - loss) if before > loss else number + 1.0
        before = loss if math.isfinite(loss) else math.inf
        if math.isinf(before):
            return None
    return None


@dataclass(frozen=True)
class Judged:
    """Rounds to the target, over those of the grid's best rate."""

    best: float  # rate
    found: float
    times: float
    usual: float  # times, of the grid's rate next to 0.05
    reached: bool
    diverged: bool


def judge(runs: Runs) -> Judged:
    assert runs.found is not None
    rounds = max(len(losses) for losses in runs.grid.values()) - 1
    half = max(1, rounds // 2)
    finite = {r: [x if math.isfinite(x) else math.inf for x in losses] for r, losses in runs.grid.items()}
    target = min(min(losses[: half + 1]) for losses in finite.values())
    took = {rate: rounds_to(losses, target) or 2.0 * rounds for rate, losses in finite.items()}
    best = min(took, key=lambda rate: took[rate])
    usual = min(took, key=lambda rate: abs(math.log(rate / USUAL_LR)))
    losses = runs.found["curve"]
    reached = rounds_to(losses, target)
    return Judged(
        best,
        runs.found["lr"],
        (reached or 2.0 * rounds) / took[best],
        took[usual] / took[best],
        reached is not None,
        not losses[-1] < losses[0],
    )


def mean(values: list[float]) -> float:
    """The geometric one."""
    return math.exp(sum(map(math.log, values)) / len(values))


def report(known: dict[Key, Runs]) -> dict[str, Any]:
    """Print a table; its figures as plain values."""
    judged = {key: judge(runs) for key, runs in known.items()}
    print("| task, split | best of the grid | found | times its rounds | with 0.05 | steps, seconds |")
    print("|---|---|---|---|---|---|")
    for name, split in dict.fromkeys(key[:2] for key in judged):
        mine = [key for key in judged if key[:2] == (name, split)]
        rows = [judged[key] for key in mine]
        found = [known[key].found or {} for key in mine]
        print(
            f"| {name}, {split} | {_rates(row.best for row in rows)} | {_rates(row.found for row in rows)} | "
            f"{mean([row.times for row in rows]):.2f} ({', '.join(f'{row.times:.2f}' for row in rows)}) | "
            f"{mean([row.usual for row in rows]):.2f} | "
            f"{max(f['steps'] for f in found)}, {min(f['seconds'] for f in found):.1f} |"
        )
    rows = list(judged.values())
    said = {
        "times": round(mean([row.times for row in rows]), 3),
        "worst": round(max(row.times for row in rows), 2),
        "with 0.05": round(mean([row.usual for row in rows]), 2),
        "not reached": sum(not row.reached for row in rows),
        "diverged": sum(row.diverged for row in rows),
        "runs": len(rows),
    }
    print("\n" + ", ".join(f"{name}: {value}" for name, value in said.items()))
    return said


def _rates(rates: Any) -> str:
    return ", ".join(f"{rate:.2g}" for rate in rates)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--state", type=Path, help="keeps each run, and goes on from there")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", action="append", choices=list(range_tasks.MAKERS))
    parser.add_argument("--quick", action="store_true", help="two small tasks, one seed: a minute")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    os.nice(5)
    tasks = list(QUICK) if given.quick else given.task or list(range_tasks.MAKERS)
    said = report(measure(given.state, tasks, 1 if given.quick else given.seeds))
    if given.json is not None:
        given.json.write_text(json.dumps(said), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
