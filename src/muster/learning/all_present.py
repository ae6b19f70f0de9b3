"""A job with every node in every round, in one process: the yardstick for jobs that nodes missed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from torch import nn

from muster.algorithms import aggregation, merging, server_step
from muster.algorithms.aggregation import UpdateMeta
from muster.algorithms.learning_rate import learning_rate
from muster.compression.change import difference
from muster.learning import local_training, params
from muster.learning.sources.arrays import ArraySource
from muster.learning.task import Task
from muster.protocol.parts import Recipe


def trained(task: Task, parts: Sequence[ArraySource], recipe: Recipe, rounds: int, steps: int) -> nn.Module:
    """The model after `rounds` rounds of `steps` local steps at each node, uncompressed.

    With `recipe.average` it is the mean of the last models.  Starts from the job's seed; without a round
    momentum where the planner would choose one.
    """
    model = params.fresh_model(task, recipe.seed)
    layout = params.layout_of(model)
    base: dict[str, Any] = params.arrays_of(model, layout)
    last = deque([base], maxlen=max(1, recipe.average))
    state = server_step.init()
    shares = aggregation.weights([UpdateMeta(len(data), steps, 0, recipe.momentum) for data in parts])
    for number in range(1, rounds + 1):
        total = aggregation.init(layout)
        for place, (data, share) in enumerate(zip(parts, shares.shares, strict=True)):
            params.load_into(model, layout, base)
            local_training.train(
                task,
                model,
                data,
                steps=steps,
                lr=learning_rate(recipe, number, rounds),
                batch=recipe.batch,
                momentum=recipe.momentum,
                seed=recipe.seed * 1_000_003 + number * 1_009 + place,
            )
            total = aggregation.accumulate(
                total, difference(layout, base, params.arrays_of(model, layout)), share
            )
        base, state = server_step.apply(
            state,
            base,
            total,
            recipe.server_lr * shares.scale,
            server_momentum=recipe.server_momentum or 0.0,
        )
        last.append(base)
    params.load_into(model, layout, merging.mean(layout, reversed(last)))
    return model
