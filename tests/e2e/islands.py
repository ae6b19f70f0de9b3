"""Two islands that see different classes, in one process: what a merge of their models is worth.

The rounds, weights, fold and merge are the product's own functions; only the network is missing.  A network
of nodes trains together for `before` rounds, then each half alone for `apart`, then the two models are merged
with equal work on both sides, and all train on together.  Beside it the same job that was never split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.compression.model import difference
from muster.compression.tensors import Layout
from muster.learning import aggregate, params, sgd
from muster.learning.rehearsal import fresh_model
from muster.learning.task import Task, load
from muster.records import Recipe

Arrays = dict[str, Any]
HALVES = Path(__file__).parent / "halves.py"
RECIPE = Recipe(lr=0.05, batch=32, steps=20, seed=0, server_momentum=0.6)  # the rest is what `train` takes
BEFORE, APART, AFTER = 5, 8, 5


@dataclass(frozen=True)
class Story:
    """Accuracies: of the islands when they meet, of their merge, one round and AFTER rounds after it; and of
    the job that was never split, at the same two rounds."""

    islands: tuple[float, float]
    merged: float
    after: tuple[float, float]
    never_split: tuple[float, float]

    @property
    def gain(self) -> float:
        """What the merge is above the better island."""
        return self.merged - max(self.islands)

    @property
    def behind(self) -> tuple[float, float]:
        """What is missing to the job that was never split, at the two rounds."""
        return self.never_split[0] - self.after[0], self.never_split[1] - self.after[1]

    def judge(self) -> None:
        """Issue 3, done-when 2 (c)."""
        assert self.gain >= 0.25, self
        assert self.behind[0] <= 0.04, self
        assert self.behind[1] <= 0.03, self


def parts_of(data: Path, nodes: int, seed: int) -> tuple[Task, list[sgd.Data], sgd.Data]:
    """The task, every node's own data, and the evaluation set."""
    tasks = [
        load(str(HALVES), {"data": str(data), "part": i, "parts": nodes, "seed": seed}) for i in range(nodes)
    ]
    parts = [sgd.as_data(task.training_data(), "training_data") for task in tasks]
    return tasks[0], parts, sgd.as_data(tasks[0].evaluation_data(), "evaluation_data")


def play(task: Task, parts: Sequence[sgd.Data], held_out: sgd.Data, recipe: Recipe) -> Story:
    """The whole story; a pure function of its arguments."""
    model = fresh_model(task, recipe.seed)
    layout = params.layout_of(model)
    everybody = range(len(parts))
    sides = everybody[: len(parts) // 2], everybody[len(parts) // 2 :]

    def measured(arrays: Arrays) -> float:
        params.load_into(model, layout, arrays)
        m = sgd.evaluate(task, model, held_out)
        return m.correct / m.examples

    def go_on(line: list[Arrays], nodes: Sequence[int], rounds: int, first: int) -> list[Arrays]:
        """`line` with so many more models, the last of which trained in round `first` + rounds - 1."""
        for number in range(first, first + rounds):
            line = [*line, _round(task, model, layout, line, parts, nodes, recipe, number)]
        return line

    begun = go_on([params.arrays_of(model, layout)], everybody, BEFORE, 1)
    a, b = (go_on(begun, side, APART, BEFORE + 1)[-1] for side in sides)
    # No momentum goes across a merge: it has no one parent to take it from.
    merged = aggregate.merge(layout, a, b, 0.5)
    whole = go_on([merged], everybody, AFTER, BEFORE + APART + 1)
    never = go_on(begun, everybody, APART + AFTER, BEFORE + 1)
    return Story(
        (measured(a), measured(b)),
        measured(merged),
        (measured(whole[1]), measured(whole[AFTER])),
        (measured(never[-AFTER]), measured(never[-1])),
    )


def _round(
    task: Task, model: Any, layout: Layout, line: list[Arrays], parts: Sequence[sgd.Data],
    nodes: Sequence[int], recipe: Recipe, number: int,
) -> Arrays:  # fmt: skip
    base, previous = line[-1], line[-2] if len(line) > 1 else None
    work = [aggregate.Work(len(parts[i]), recipe.steps, 0, recipe.momentum) for i in nodes]
    weighed = aggregate.weights(work)
    fold = aggregate.start(layout)
    for i, share in zip(nodes, weighed.shares, strict=True):
        params.load_into(model, layout, base)
        sgd.train(
            task, model, parts[i], steps=recipe.steps, lr=recipe.lr, batch=recipe.batch,
            momentum=recipe.momentum, seed=recipe.seed * 1_000_003 + number * 1_009 + i,
        )  # fmt: skip
        fold = aggregate.add(fold, difference(layout, base, params.arrays_of(model, layout)), share)
    return aggregate.finish(
        fold, base, recipe.server_lr * weighed.scale,
        server_momentum=recipe.server_momentum, previous=previous,
    )  # fmt: skip
