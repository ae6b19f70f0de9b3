"""The runs of adaptive_steps.py, kept in a file, and the tables that are made of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

RATIOS = (0.1, 1.0, 10.0, 100.0, 1000.0)
FIXED = (1, 2, 5, 10, 20, 50, 100, 200)
HELD = 3
APART_STEPS = 5  # of evaluations that count
FIXED_NEEDED = 100  # larger ones are compared where they were run
MOST_KNOWN, MOST_OTHERS = 1.3, 1.6  # times the best fixed number: the targets
KNOWN_TASKS, KNOWN_SPLITS = ("mnist-cnn6k", "mnist-cnn29k"), ("classes:2", "dirichlet:0.1")

Cell = tuple[str, str, int]  # task, split, seed


@dataclass(frozen=True)
class Run:
    """What one choice of steps did: `rounds` to the target (None: not reached in those that were run)."""

    cell: Cell
    name: str  # a fixed number, or "rule R"
    rounds: int | None
    steps: list[int]
    losses: list[float]
    accuracies: list[float]
    halvings: int = 0
    taken_back: int = 0

    @property
    def fixed(self) -> int:
        """The fixed number of steps; 0: it is the rule's."""
        return int(self.name) if self.name.isdigit() else 0

    def time(self, ratio: float) -> float:
        """To the target."""
        return math.inf if self.rounds is None else self.rounds * ratio + sum(self.steps[: self.rounds])


@dataclass
class Runs:
    """All of them, by cell and name."""

    path: Path | None
    found: dict[Cell, dict[str, Run]] = field(default_factory=dict)
    targets: dict[tuple[str, str], float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path is None or not self.path.exists():
            return
        for line in self.path.read_text("utf-8").splitlines():
            said = json.loads(line)
            if "target" in said:
                self.targets[said["task"], said["split"]] = said["target"]
                self.parameters[said["task"]] = said["parameters"]
            elif "cell" in said:
                run = Run(**{**said, "cell": tuple(said["cell"])})
                self.found.setdefault(run.cell, {})[run.name] = run

    def of(self, cell: Cell) -> dict[str, Run]:
        return self.found.setdefault(cell, {})

    def keep(self, run: Run) -> None:
        self.of(run.cell)[run.name] = run
        self._append(asdict(run))

    def keep_target(self, task: str, split: str, target: float, parameters: int) -> None:
        self.targets[task, split], self.parameters[task] = target, parameters
        self._append({"task": task, "split": split, "target": target, "parameters": parameters})

    def _append(self, said: dict[str, Any]) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(said) + "\n")


def held_at(points: Sequence[Any], target: float) -> int | None:
    """The round (from 1) of the first of HELD evaluations in a row at or above the target."""
    first, count, since = 0, 0, APART_STEPS
    for number, point in enumerate(points, 1):
        since += point.steps
        if since < APART_STEPS:
            continue
        since = 0
        if point.accuracy < target:
            count = 0
            continue
        first, count = (number, 1) if count == 0 else (first, count + 1)
        if count == HELD:
            return first
    return None


def best_time(runs: Iterable[Run], ratio: float) -> float:
    """Of the fixed numbers of steps."""
    return min((r.time(ratio) for r in runs if r.fixed), default=math.inf)


@dataclass(frozen=True)
class Figures:
    """One task and split: median times over the seeds that have everything, against the best fixed number."""

    task: str
    split: str
    target: float
    seeds: list[int]
    rounds: dict[str, float]  # of each fixed number; infinite: not reached, or far behind
    best: dict[str, int]  # by R: the fixed number with the least median time
    rule: dict[str, float]  # by R: times as long as it
    rule_rounds: dict[str, float]
    twenty: dict[str, float]
    halvings: dict[str, list[int]]  # of the rule, by R, for each seed

    @property
    def known(self) -> bool:
        """Whether the rule's constants were chosen on its kind."""
        return self.task in KNOWN_TASKS and self.split in KNOWN_SPLITS


def figures_of(runs: Runs, task: str, split: str) -> Figures | None:
    """None where no seed has run all that is compared."""
    needed = {*(f"rule {r:g}" for r in RATIOS), *(str(tau) for tau in FIXED if tau <= FIXED_NEEDED)}
    seeds = sorted(s for (t, p, s), of in runs.found.items() if (t, p) == (task, split) and needed <= set(of))
    if not seeds:
        return None
    found = [runs.found[task, split, seed] for seed in seeds]
    fixed = [tau for tau in FIXED if all(str(tau) in of for of in found)]
    best, steered, twenty, halvings = {}, {}, {}, {}
    for r in RATIOS:
        times = {tau: median(of[str(tau)].time(r) for of in found) for tau in fixed}
        best[f"{r:g}"] = min(times, key=times.__getitem__)
        least = times[best[f"{r:g}"]]
        steered[f"{r:g}"] = round(median(of[f"rule {r:g}"].time(r) for of in found) / least, 3)
        twenty[f"{r:g}"] = round(times[20] / least, 3)
        halvings[f"{r:g}"] = [of[f"rule {r:g}"].halvings for of in found]
    return Figures(
        task, split, runs.targets[task, split], seeds,
        {str(tau): median(of[str(tau)].rounds or math.inf for of in found) for tau in fixed},
        best, steered,
        {f"{r:g}": median(of[f"rule {r:g}"].rounds or math.inf for of in found) for r in RATIOS},
        twenty, halvings,
    )  # fmt: skip


def mean_of(ratios: Iterable[float]) -> float:
    """The geometric mean."""
    logs = [math.log(r) for r in ratios]
    return math.exp(math.fsum(logs) / len(logs))


def summary(found: Sequence[Figures]) -> dict[str, Any]:
    """Over all tasks, splits and R, for the rule and for 20 steps."""
    said: dict[str, Any] = {"cells": sum(len(f.rule) for f in found)}
    for name in ("rule", "twenty"):
        every = [r for f in found for r in getattr(f, name).values()]
        said[name] = {"mean": round(mean_of(every), 3)}
        for group, known in (("known", True), ("others", False)):
            ratios = [r for f in found if f.known is known for r in getattr(f, name).values()]
            if ratios:
                within = sum(r <= (MOST_KNOWN if known else MOST_OTHERS) for r in ratios)
                mean = round(mean_of(ratios), 3)
                said[name][group] = {"mean": mean, "worst": max(ratios), "within": within, "of": len(ratios)}
    return said


def show(runs: Runs) -> dict[str, Any]:
    """Print the tables, by task and split, and give the figures."""
    tasks = dict.fromkeys((t, s) for t, s, _ in runs.found)
    found = [f for f in (figures_of(runs, task, split) for task, split in tasks) if f is not None]
    if not found:
        print("nothing is complete yet")
        return {}
    print("\nrounds to the target with a fixed number of steps; best of them at each R\n")
    at = ", ".join(f"{r:g}" for r in RATIOS)
    print(f"| task, split, target (seeds) | {' | '.join(map(str, FIXED))} | best at R {at} |")
    print("|" + "---|" * (len(FIXED) + 2))
    for f in found:
        cells = [f"{f.rounds[str(tau)]:g}" if str(tau) in f.rounds else "" for tau in FIXED]
        best = ", ".join(map(str, f.best.values()))
        print(f"| {f.task}, {f.split}, {f.target:.0%} ({len(f.seeds)}) | {' | '.join(cells)} | {best} |")
    print("\ntime to the target over that of the best fixed number: the rule / 20 steps\n")
    print(f"| task, split | {' | '.join(f'R {r:g}' for r in RATIOS)} | halvings |")
    print("|" + "---|" * (len(RATIOS) + 2))
    for f in found:
        cells = [f"{f.rule[r]:.2f} / {f.twenty[r]:.2f}" for r in f.rule]
        halved = ", ".join("".join(map(str, each)) for each in f.halvings.values())
        print(f"| {f.task}, {f.split}{' *' if f.known else ''} | {' | '.join(cells)} | {halved} |")
    said = summary(found)
    print(f"\n* the constants are from this kind of task\n{json.dumps(said)}")
    return {"summary": said, "tasks": [asdict(f) for f in found], "parameters": runs.parameters}
