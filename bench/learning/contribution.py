"""How well the values that `muster log JOB --contributions` shows agree with exact Shapley values.

In one process, without a network: eight nodes train a small model with Muster's own training, codec, weights
and fold.  Four are honest, two have the same data, one has nothing but wrong labels, and one sends updates of
zeros.  After every round each node's value is worked out as the coordinator does it (first order, on held-out
samples), and exactly, from all 256 coalitions on the same samples.

    python bench/learning/contribution.py --data MNIST.npz --seeds 0 1 2

"rank" is Spearman's correlation over the eight nodes: in the mean over rounds, and of the sums of all rounds.
The exact game keeps each update's weight whoever else takes part; with --renormed also the one that gives the
absent ones' weight to those present, as if the round had been planned without them.  CPU is that of working
out the values against that of the nodes' training, both with one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.algorithms import aggregation, server_step, splits
from muster.algorithms.contribution import WeightedUpdate
from muster.compression.change import difference
from muster.compression.codecs.families import parse
from muster.compression.model import encode_with_feedback
from muster.learning import contribution, local_training, params
from muster.learning.digits import Digits
from muster.learning.evaluation import evaluate
from muster.learning.mnist import Mnist
from muster.learning.params import fresh_model
from muster.learning.sources.arrays import ArraySource, as_arrays
from muster.learning.sources.source import Source, as_source
from muster.learning.task import Task
from muster.protocol.parts import Recipe

RECIPES = {
    "digits": Recipe(lr=0.1, batch=32, steps=20, seed=0, server_momentum=0.7, average=5),
    "mnist": Recipe(lr=0.03, batch=16, steps=20, seed=0, server_momentum=0.8, average=5),
}
ROLES = ("honest", "honest", "honest", "honest", "twin", "twin", "flipped", "idle")
PART = (0, 1, 2, 3, 4, 4, 5, 6)  # which part of the data each of them has
CLASSES = 10
CODEC = "quant8"

Arrays = Mapping[str, Any]
Game = dict[int, float]  # coalition as a bit mask -> its utility


@dataclass
class Run:
    """One seed: a row of values for each round, and what they cost."""

    first_order: list[list[float]] = field(default_factory=list)
    fixed: list[list[float]] = field(default_factory=list)
    renormed: list[list[float]] = field(default_factory=list)
    exact_rounds: list[int] = field(default_factory=list)  # in which the two above are known
    drops: list[float] = field(default_factory=list)
    training_s: float = 0.0  # CPU
    valuing_s: float = 0.0


def play(
    task: Task, recipe: Recipe, spec: str, rounds: int, seed: int, examples: int,
    exact_every: int = 0, renormed: bool = False,
) -> Run:  # fmt: skip
    """`rounds` rounds of the eight nodes, each valued on `examples` held-out samples; 0: never exactly."""
    nodes = parts_of(task, spec, seed)
    held_out = as_source(task.evaluation_data(), "evaluation_data").sample(examples)
    model = fresh_model(task, seed)
    layout = params.layout_of(model)
    codec = parse(CODEC)
    base, state = params.arrays_of(model, layout), server_step.init()
    residuals: list[Any] = [None] * len(ROLES)
    run = Run()
    for number in range(rounds):
        began_s = time.process_time()
        updates: list[Arrays] = []
        for i, data in enumerate(nodes):
            params.load_into(model, layout, base)
            draw = seed * 1_000_003 + number * 1_009 + i
            if ROLES[i] != "idle":
                local_training.train(
                    task, model, data, steps=recipe.steps, lr=recipe.lr, batch=recipe.batch,
                    momentum=recipe.momentum, seed=draw,
                )  # fmt: skip
            after = base if ROLES[i] == "idle" else params.arrays_of(model, layout)
            sent = encode_with_feedback(codec, layout, difference(layout, base, after), residuals[i], draw)
            residuals[i] = sent.residual
            updates.append(sent.decoded)
        run.training_s += time.process_time() - began_s
        weighed = aggregation.weights([aggregation.UpdateMeta(len(d), recipe.steps) for d in nodes])
        weights = [recipe.server_lr * weighed.scale * share for share in weighed.shares]
        began_s = time.process_time()
        given = [WeightedUpdate(w, partial(_same, u)) for w, u in zip(weights, updates, strict=True)]
        valued = contribution.contributions(task, model, layout, base, given, held_out)
        run.valuing_s += time.process_time() - began_s
        run.first_order.append(list(valued.values))
        run.drops.append(valued.before - valued.after)
        if exact_every and number % exact_every == 0:
            run.exact_rounds.append(number)
            for renorm, into in ((False, run.fixed), (True, run.renormed))[: 1 + renormed]:
                utility = partial(
                    coalition_utility, task, model, layout, base, updates, weights, held_out, renorm
                )
                into.append(shapley(game_of(utility, len(nodes), renorm), len(nodes)))
        total = aggregation.init(layout)
        for update, share in zip(updates, weighed.shares, strict=True):
            total = aggregation.accumulate(total, update, share)
        base, state = server_step.apply(
            state, base, total, recipe.server_lr * weighed.scale, server_momentum=recipe.server_momentum
        )
    return run


def _same(update: Arrays) -> Arrays:
    return update


def parts_of(task: Task, spec: str, seed: int) -> list[ArraySource]:
    """Each node's data by its role; the flipped one's labels c have become 9 - c."""
    x, y = task.training_data()
    whole = as_arrays((x, y), "training_data")
    dealt = splits.split(y, spec, max(PART) + 1, seed)
    nodes = [whole.at(dealt[part]) for part in PART]
    return [
        as_arrays((d.x, CLASSES - 1 - d.y), "flipped") if role == "flipped" else d
        for d, role in zip(nodes, ROLES, strict=True)
    ]


def game_of(utility: Callable[[int], float], players: int, renorm: bool) -> Game:
    """All coalitions; where weights are fixed, the idle one's presence changes nothing and costs nothing."""
    idle = 0 if renorm else 1 << ROLES.index("idle")
    game = {s: utility(s) for s in range(1 << players) if not s & idle}
    return game | {s | idle: u for s, u in game.items()}


def coalition_utility(
    task: Task, model: Any, layout: Any, base: Arrays, updates: Sequence[Arrays], weights: Sequence[float],
    held_out: Source, renorm: bool, coalition: int,
) -> float:  # fmt: skip
    """Minus the held-out loss after the updates of `coalition` alone."""
    members = [i for i in range(len(updates)) if coalition >> i & 1]
    grow = sum(weights) / sum(weights[i] for i in members) if renorm and members else 1.0
    moved = {}
    for spec in layout.tensors:
        assert not spec.averaged  # these models have no statistics
        step = sum((weights[i] * grow * updates[i][spec.name].astype(np.float64) for i in members), 0.0)
        moved[spec.name] = (base[spec.name] + step).astype(spec.dtype)
    params.load_into(model, layout, moved)
    measured = evaluate(task, model, held_out)
    return -measured.loss


def shapley(game: Game, players: int) -> list[float]:
    """Exact Shapley values from the utilities of all coalitions."""
    found = [0.0] * players
    for coalition, utility in game.items():
        size = coalition.bit_count()
        for i in range(players):
            if not coalition >> i & 1:
                gain = game[coalition | 1 << i] - utility
                found[i] += factorial(size) * factorial(players - size - 1) / factorial(players) * gain
    return found


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """The rank correlation; equal values share their ranks' mean."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.asarray(values)
    return (array[:, None] > array).sum(1) + ((array[:, None] == array).sum(1) - 1) / 2


def apart(a: float, b: float) -> float:
    """How far two values differ, against the mean of their sizes."""
    return abs(a - b) / ((abs(a) + abs(b)) / 2)


def report(run: Run) -> list[str]:
    """One row of the table of figures."""
    total = np.sum(run.first_order, axis=0)
    worse = [ROLES[i] for i in np.argsort(total) if total[i] < total[ROLES.index("flipped")]]
    cells = [
        "last" if not worse else "after it: " + ", ".join(worse),
        f"{total[ROLES.index('idle')]:g}",
        f"{apart(total[4], total[5]):.1%}",
    ]
    known = [run.first_order[number] for number in run.exact_rounds]
    for game in filter(None, (run.fixed, run.renormed)):
        each = [spearman(a, b) for a, b in zip(known, game, strict=True)]
        pooled = spearman(list(np.sum(known, axis=0)), list(np.sum(game, axis=0)))
        cells.append(f"{np.mean(each):.2f} / {pooled:.2f}")
    predicted, drop = float(total.sum()), float(np.sum(run.drops))
    return [*cells, f"{predicted:.3f} / {drop:.3f}", f"{run.valuing_s / run.training_s:.1%}"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="MNIST as .npz; without it scikit-learn's digits")
    parser.add_argument("--model", default="cnn6k", help="of MNIST")
    parser.add_argument("--splits", nargs="+", default=["iid", "dirichlet:0.5", "classes:2"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--examples", type=int, default=500, help="held-out samples")
    parser.add_argument("--exact-every", type=int, default=2, help="rounds; 0: only the cost")
    parser.add_argument("--renormed", action="store_true", help="the other exact game, too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {"data": given.data, "model": given.model}
    task: Task = Mnist(**options) if given.data else Digits()
    recipe = RECIPES[task.name]
    rows, sums = [], []
    for spec in given.splits:
        for seed in given.seeds:
            run = play(
                task, recipe, spec, given.rounds, seed, given.examples, given.exact_every, given.renormed
            )
            rows.append([spec, str(seed), *report(run)])
            known = [run.first_order[number] for number in run.exact_rounds]
            for name, game in (("first order", known), ("exact", run.fixed)):
                if game:
                    values = [f"{v:.3f}" for v in np.sum(game, axis=0)]
                    sums.append([spec, str(seed), name, *values])
            print("  ".join(rows[-1]), flush=True)
    ranks = ["rank", "rank, renormed"][: bool(given.exact_every) * (1 + given.renormed)]
    head = ["split", "seed", "flipped", "idle", "twins apart", *ranks, "sum / true drop", "CPU"]
    print("\n" + table(head, rows))
    print("\n" + table(["split", "seed", "values", *ROLES], sums))


if __name__ == "__main__":
    main()
