"""A job of equal nodes, round by round, for adaptive_steps.py: Muster's training, weights and server step.

Messages are dense and cost no precision.  Everything follows from the seed and the steps of each round, so
that two ways to choose the steps have the same models as long as they choose alike: those are kept and not
trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import steps_tasks
from muster.algorithms import aggregation, server_step
from muster.compression.change import difference
from muster.learning import local_training, params
from muster.learning.evaluation import evaluate
from muster.learning.faults import TaskFault
from steps_tasks import Setting

Arrays = Mapping[str, Any]
FAR = 20.0  # a loss that stands for one that is not finite


@dataclass(frozen=True)
class Point:
    """A round: its local steps, and held-out figures after it."""

    steps: int
    loss: float
    accuracy: float


@dataclass
class Curve:
    """The rounds so far, and the models after them, the first one before any round."""

    points: list[Point] = field(default_factory=list)
    models: list[Arrays] = field(default_factory=list)


class Federation:
    """Nodes with their parts of a task's data."""

    def __init__(self, setting: Setting, split: str, nodes: int, seed: int) -> None:
        self._setting, self._seed = setting, seed
        self._parts = setting.parts(split, nodes, seed)
        self._model = params.fresh_model(setting.task, seed)
        self._layout = params.layout_of(self._model)
        self._first = params.arrays_of(self._model, self._layout)
        self._curves: list[Curve] = []

    @property
    def parameters(self) -> int:
        return sum(spec.size for spec in self._layout.tensors)

    def curve(self) -> Curve:
        """A new job."""
        curve = Curve([], [self._first])
        self._curves.append(curve)
        return curve

    def extend(self, curve: Curve, steps: int) -> Point:
        """One more round of `steps` steps."""
        number = len(curve.points)
        wanted = [*(p.steps for p in curve.points), steps]
        for other in self._curves:
            if [p.steps for p in other.points[: number + 1]] == wanted:
                curve.points.append(other.points[number])
                curve.models.append(other.models[number + 1])
                return curve.points[-1]
        curve.models.append(self._trained(curve, number, steps))
        curve.points.append(self._measured(steps, curve.models[-1]))
        return curve.points[-1]

    def _trained(self, curve: Curve, number: int, steps: int) -> Arrays:
        """The model after round `number` (from 0): each node trains, then the server steps."""
        setting, layout, base = self._setting, self._layout, curve.models[number]
        previous = curve.models[number - 1] if number else None
        total = aggregation.init(layout)
        meta = [aggregation.UpdateMeta(len(part), steps) for part in self._parts]
        weighed = aggregation.weights(meta)
        for i, (data, share) in enumerate(zip(self._parts, weighed.shares, strict=True)):
            params.load_into(self._model, layout, base)
            try:
                local_training.train(
                    setting.task, self._model, data, steps=steps, lr=steps_tasks.MOMENTUM_RATE * setting.lr,
                    batch=setting.batch, seed=self._seed * 1_000_003 + number * 1_009 + i,
                )  # fmt: skip
            except TaskFault:  # the loss is not finite: the node leaves out the round
                continue
            update = difference(layout, base, params.arrays_of(self._model, layout))
            total = aggregation.accumulate(total, update, share)
        after, _ = server_step.apply(
            server_step.init(previous), base, total, weighed.scale, server_momentum=steps_tasks.MOMENTUM
        )
        return after

    def _measured(self, steps: int, model: Arrays) -> Point:
        params.load_into(self._model, self._layout, model)
        found = evaluate(self._setting.task, self._model, self._setting.held_out)
        return Point(steps, min(FAR, found.loss) if found.loss == found.loss else FAR, found.accuracy)
