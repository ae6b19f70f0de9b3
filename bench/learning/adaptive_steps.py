"""How many local steps: the rule of planning/steps.py against fixed numbers of steps, on a virtual clock.

In one process, without a network: ten equal nodes train with Muster's own local training, weights and server
step; messages are dense, and the round momentum is 0.8 at 0.3 of the plain rate.  A step takes 1, and what a
round costs beside its steps is R.  Models depend on the steps alone, so that one run gives the times of every
R, and runs that choose alike share their rounds.

    python bench/learning/adaptive_steps.py --data MNIST.npz --seeds 0 1 2 --state FILE
    python bench/learning/adaptive_steps.py --quick        (digits only, one seed)
    python bench/learning/adaptive_steps.py --svm --data MNIST.npz --seeds 0 1 2   (JSAC's own setting)

Every finished run is a line of --state; with the same file it goes on where it was stopped.

The target of a task and split: 20 steps, seed 0, 24 rounds; of the best accuracy that they hold for three
evaluations in a row, 1.2 times the error or 0.95 of the accuracy, whichever is more accurate, to a whole
percent.  It is reached with the first of three evaluations in a row at or above it; evaluations count that
are 5 steps or more apart.  A fixed run ends when another fixed number is 1.1 times sooner at every R.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path

import torch

import steps_report
import steps_svm
from muster.planning import steps as rule
from muster.protocol.parts import Steering
from steps_federation import Curve, Federation, Point
from steps_report import RATIOS, Run, Runs, held_at
from steps_tasks import NAMES, Setting, setting

NODES = 10
SPLITS = ("classes:2", "dirichlet:0.1", "iid")
TARGET_ROUNDS, ALLOWED_ERROR, ALLOWED_ACCURACY = 24, 1.2, 0.95
ORDER, LAST = (20, 10, 50, 5, 100, 2, 1), (200,)  # so that runs which cannot win end early
HOPELESS = 1.1  # times as long as another, at every R
ROUNDS_MAX = 600
RULE_MOST = 5.0  # times as long as the best fixed number: then the rule has failed


def target_of(points: Sequence[Point]) -> float:
    """What all sensible numbers of steps should reach."""
    triples = zip(points, points[1:], points[2:], strict=False)
    held = max(min(p.accuracy for p in three) for three in triples)
    target = max(1 - ALLOWED_ERROR * (1 - held), ALLOWED_ACCURACY * held)
    return math.floor(100 * target + 1e-9) / 100


def hopeless(rounds: int, steps: int, done: Iterable[Run]) -> bool:
    """Whether a run that is not there after so many rounds is far behind another at every R."""
    times = [(r.rounds, r.fixed) for r in done if r.rounds is not None and r.fixed]
    return bool(times) and all(
        rounds * (ratio + steps) > HOPELESS * min(k * (ratio + tau) for k, tau in times) for ratio in RATIOS
    )


class Job:
    """All runs of one task, split and seed."""

    def __init__(self, name: str, split: str, seed: int, given: Setting, runs: Runs) -> None:
        self.cell = (name, split, seed)
        self._federation = Federation(given, split, NODES, seed)
        self._runs = runs

    def target(self) -> float:
        """Of the task and split; made by the first seed that asks, which is 0."""
        name, split, _ = self.cell
        known = self._runs.targets.get((name, split))
        if known is None:
            curve = self._federation.curve()
            for _ in range(TARGET_ROUNDS):
                self._federation.extend(curve, 20)
            known = target_of(curve.points)
            self._runs.keep_target(name, split, known, self._federation.parameters)
        return known

    def fixed(self, steps: int) -> None:
        """One fixed number of steps, until it is there or far behind."""
        target, done = self.target(), self._runs.of(self.cell)
        if str(steps) in done:
            return
        curve = self._federation.curve()
        while held_at(curve.points, target) is None and len(curve.points) < ROUNDS_MAX:
            if steps != 20 and hopeless(len(curve.points), steps, done.values()):
                break
            self._federation.extend(curve, steps)
        self._keep(str(steps), curve, target)

    def steered(self, ratio: float) -> None:
        """The rule and its guard."""
        target, done = self.target(), self._runs.of(self.cell)
        name = f"rule {ratio:g}"
        if name in done:
            return
        best = steps_report.best_time(done.values(), ratio)
        curve, steering, spent = self._federation.curve(), Steering(), 0.0
        while held_at(curve.points, target) is None and spent < RULE_MOST * best:
            steps = rule.steered_steps(ratio, steering)
            point = self._federation.extend(curve, steps)
            steering = rule.watch(steering, point.loss, steps)
            spent += ratio + steps
        self._keep(name, curve, target, steering.halvings, steering.taken_back)

    def _keep(self, name: str, curve: Curve, target: float, halvings: int = 0, taken_back: int = 0) -> None:
        at = held_at(curve.points, target)
        points = curve.points if at is None else curve.points[:at]
        run = Run(
            self.cell, name, at, [p.steps for p in points], [round(p.loss, 4) for p in points],
            [round(p.accuracy, 4) for p in points], halvings, taken_back,
        )  # fmt: skip
        self._runs.keep(run)
        print(
            f"{time.strftime('%H:%M:%S')} {self.cell} {name}: {at or 'not'} of {len(curve.points)}",
            flush=True,
        )


def run_all(runs: Runs, seeds: list[int], splits: list[str], tasks: list[str], mnist: Path) -> None:
    """Every cell of a seed before the next seed; what costs most and is seldom best comes last in each."""
    made = cache(partial(setting, mnist_file=mnist))
    for seed in seeds:
        cells = [(name, split) for split in splits for name in tasks]
        for name, split in cells:
            job = Job(name, split, seed, made(name), runs)
            for steps in ORDER:
                job.fixed(steps)
            for ratio in RATIOS:
                job.steered(ratio)
        for name, split in cells:
            job = Job(name, split, seed, made(name), runs)
            for steps in LAST:
                job.fixed(steps)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="MNIST as .npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--state", type=Path, help="where runs are kept, and taken up from")
    parser.add_argument("--quick", action="store_true", help="digits, i.i.d., one seed")
    parser.add_argument("--svm", action="store_true", help="JSAC's squared SVM in place of the networks")
    parser.add_argument("--report", action="store_true", help="run nothing, show what --state has")
    parser.add_argument("--json", type=Path, help="where the figures go")
    given = parser.parse_args(arguments)
    os.nice(5)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if given.quick:
        given.tasks, given.splits, given.seeds = ["digits-mlp"], ["iid"], [0]
    if (
        given.data is None
        and (given.svm or any(name.startswith("mnist") for name in given.tasks))
        and not given.report
    ):
        parser.error("--data is needed: MNIST as .npz (or --tasks without it, or --quick)")
    if given.svm:
        figures = steps_svm.play(None if given.report else given.data, given.seeds, given.state)
    else:
        runs = Runs(given.state)
        if not given.report:
            run_all(runs, given.seeds, given.splits, given.tasks, given.data)
        figures = steps_report.show(runs)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
