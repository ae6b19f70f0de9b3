"""A job without a network: the same training, weights and fold in one process.

For tuning recipes and for the yardsticks of a report.  Nodes may be absent from a round at random or slow
(a share of the planned steps); the seed decides everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from muster.learning import aggregate, params, sgd
from muster.learning.task import Task
from muster.records import Recipe


@dataclass(frozen=True)
class Conditions:
    """Each node misses a round with probability `absence[i]`, and does `speed[i]` of the planned steps."""

    absence: tuple[float, ...]
    speed: tuple[float, ...]


def fresh_model(task: Task, seed: int) -> nn.Module:
    """The model that a job without starting parameters begins with."""
    torch.manual_seed(seed)
    return task.model()


def rehearse(
    task: Task,
    parts: Sequence[sgd.Data],
    held_out: sgd.Data,
    recipe: Recipe,
    rounds: int,
    conditions: Conditions,
    on_round: Callable[[int, sgd.Measured], None] | None = None,
) -> list[sgd.Measured]:
    """Federated training over `parts`; what the model reaches on `held_out` after each round."""
    model = fresh_model(task, recipe.seed)
    layout = params.layout_of(model)
    rng = np.random.default_rng([recipe.seed, 0xAB5E])
    base, previous = params.arrays_of(model, layout), None
    curve: list[sgd.Measured] = []
    for number in range(1, rounds + 1):
        present = [i for i in range(len(parts)) if rng.random() >= conditions.absence[i]]
        steps = {i: max(1, round(recipe.steps * conditions.speed[i])) for i in present}
        if present:
            weighed = aggregate.weights(
                [aggregate.Work(len(parts[i]), steps[i], 0, recipe.momentum) for i in present]
            )
            fold = aggregate.start(layout)
            for i, share in zip(present, weighed.shares, strict=True):
                params.load_into(model, layout, base)
                sgd.train(
                    task,
                    model,
                    parts[i],
                    steps=steps[i],
                    lr=recipe.lr,
                    batch=recipe.batch,
                    momentum=recipe.momentum,
                    seed=recipe.seed * 1_000_003 + number * 1_009 + i,
                )
                after = params.arrays_of(model, layout)
                fold = aggregate.add(fold, params.difference(layout, after, base), share)
            after = aggregate.finish(
                fold,
                base,
                recipe.server_lr * weighed.scale,
                server_momentum=recipe.server_momentum,
                previous=previous,
            )
            base, previous = after, base
        params.load_into(model, layout, base)
        curve.append(sgd.evaluate(task, model, held_out))
        if on_round is not None:
            on_round(number, curve[-1])
    return curve
