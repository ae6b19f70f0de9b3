"""A job in one process, without a network: the product's training, codec, weights and server step.

The default recipes (learning/recipes.py) were chosen with it.  Nodes may be slow (a share of the
planned steps) and may be away for some rounds at a time: the update that a node had begun when it went comes
when it is back, as old as its absence was long, and is discounted like any late update.  The seed decides
everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from muster.algorithms import aggregation, merging, server_step
from muster.algorithms.aggregation import UpdateMeta
from muster.algorithms.learning_rate import learning_rate
from muster.compression.change import difference
from muster.compression.codecs.families import parse
from muster.compression.model import encode_with_feedback
from muster.compression.tensors import Layout
from muster.learning import local_training, params
from muster.learning.evaluation import Evaluation, evaluate
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.source import Source
from muster.learning.task import Task
from muster.protocol.parts import Recipe

AUTO_CODEC = "quant8"  # what a recipe's codec "auto" is here

Arrays = Mapping[str, Any]


@dataclass(frozen=True)
class Conditions:
    """Node i misses the share `absence[i]` of the rounds, `away[0]` to `away[1]` rounds at a time, and does
    `speed[i]` of the planned steps."""

    absence: tuple[float, ...]
    speed: tuple[float, ...]
    away: tuple[int, int] = (1, 3)

    def leaving(self, node: int) -> float:
        """The probability that a node that is here goes while it works."""
        share, length = self.absence[node], sum(self.away) / 2
        return share / (length * (1.0 - share) + share)


# The scenario of that name: two of eight nodes are away 40 % of the time, two others are four times slower.
FIELD_8 = Conditions(
    absence=(0.0, 0.0, 0.4, 0.0, 0.0, 0.0, 0.4, 0.0),
    speed=(1.0, 0.25, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25),
)


@dataclass(frozen=True)
class SimulatedJob:
    """What the model reaches after each round, and what the closing one does (`Recipe.average`)."""

    curve: tuple[Evaluation, ...]
    closing: Evaluation


def simulate(
    task: Task,
    parts: Sequence[ArraySource],
    held_out: Source,
    recipe: Recipe,
    rounds: int,
    conditions: Conditions,
    on_round: Callable[[int, Evaluation], None] | None = None,
) -> SimulatedJob:
    """Federated training over `parts`, measured on `held_out`."""
    model = params.fresh_model(task, recipe.seed)
    layout = params.layout_of(model)
    last: deque[Arrays] = deque(maxlen=recipe.average)
    curve: list[Evaluation] = []
    for arrays in models(task, parts, recipe, rounds, conditions):
        last.append(arrays)
        params.load_into(model, layout, arrays)
        curve.append(evaluate(task, model, held_out))
        if on_round is not None:
            on_round(len(curve), curve[-1])
    params.load_into(model, layout, merging.mean(layout, reversed(last)))
    return SimulatedJob(tuple(curve), evaluate(task, model, held_out))


def models(
    task: Task, parts: Sequence[ArraySource], recipe: Recipe, rounds: int, conditions: Conditions
) -> Iterator[Arrays]:
    """The model after each round."""
    model = params.fresh_model(task, recipe.seed)
    layout = params.layout_of(model)
    codec = parse(AUTO_CODEC if recipe.codec == "auto" else recipe.codec)
    rng = np.random.default_rng([recipe.seed, 0xAB5E])
    base: Arrays = params.arrays_of(model, layout)
    state = server_step.init()
    residuals: list[Any] = [None] * len(parts)
    back = [0] * len(parts)  # the round in which a node that is away is here again
    due: dict[int, list[tuple[int, int, Arrays]]] = {}  # by the round it is here: base's round, node, update
    for number in range(1, rounds + 1):
        for i, data in enumerate(parts):
            if number < back[i]:
                continue
            params.load_into(model, layout, base)
            seed = recipe.seed * 1_000_003 + number * 1_009 + i
            local_training.train(
                task, model, data, steps=_steps(recipe, conditions, i),
                lr=learning_rate(recipe, number, rounds), batch=recipe.batch, momentum=recipe.momentum,
                seed=seed,
            )  # fmt: skip
            update = difference(layout, base, params.arrays_of(model, layout))
            sent = encode_with_feedback(codec, layout, update, residuals[i], seed)
            residuals[i] = sent.residual
            if rng.random() < conditions.leaving(i):
                back[i] = number + int(rng.integers(conditions.away[0], conditions.away[1] + 1))
            due.setdefault(max(number, back[i]), []).append((number, i, sent.decoded))
        arrived = due.pop(number, [])
        if arrived:
            total, scale = _aggregated(layout, number, arrived, parts, recipe, conditions)
            base, state = server_step.apply(
                state, base, total, recipe.server_lr * scale, server_momentum=recipe.server_momentum
            )
        yield base


def _aggregated(
    layout: Layout,
    number: int,
    updates: Sequence[tuple[int, int, Arrays]],
    parts: Sequence[ArraySource],
    recipe: Recipe,
    conditions: Conditions,
) -> tuple[aggregation.Accumulator, float]:
    """The weighted sum of the updates that arrive in round `number`, and the scale of its step."""
    weighed = aggregation.weights(
        [
            UpdateMeta(len(parts[i]), _steps(recipe, conditions, i), number - since, recipe.momentum)
            for since, i, _ in updates
        ]
    )
    total = aggregation.init(layout)
    for (_, _, update), share in zip(updates, weighed.shares, strict=True):
        total = aggregation.accumulate(total, update, share)
    return total, weighed.scale


def _steps(recipe: Recipe, conditions: Conditions, node: int) -> int:
    return max(1, round(recipe.steps * conditions.speed[node]))
