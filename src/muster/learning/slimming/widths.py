"""A task with smaller models: as its model() builds them, where that takes a `width`, else sliced.

Where model() draws weights, a slice of them is drawn alike, but read by fewer channels: they are made larger
by the root of that, so that what comes out varies as it would in a model that was drawn at this width.  Where
model() brings weights, those channels are taken whose weights are the largest.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from muster.algorithms.slimming.magnitude import by_magnitude
from muster.algorithms.slimming.shape import Shape, whole
from muster.algorithms.slimming.structure import Structure
from muster.learning.conversion import array_of
from muster.learning.params import Forward, fresh_model, show
from muster.learning.slimming.layers import layers_of
from muster.learning.slimming.smaller import narrowed
from muster.learning.task import Task


def takes_width(task: Task) -> bool:
    """Whether the task builds smaller models itself."""
    return "width" in inspect.signature(task.model).parameters


def of_own_width(task: Task, width: float) -> Task:
    """The task, with models as it builds them at a width."""
    model: Callable[..., nn.Module] = task.model
    return _with_model(task, partial(model, width=width))


def sliced(task: Task, structure: Structure, width: float, forward: Forward) -> Task:
    """The task, with models that have this fraction of the channels of each group of `structure`."""
    first, second = (fresh_model(task, seed, forward).state_dict() for seed in (0, 1))
    drawn = frozenset(n for n in structure.axes if not torch.equal(first[n], second[n]))
    given = {name: array_of(first[name]) for name in structure.axes if name not in drawn}
    shape = by_magnitude(given, structure, width, whole(structure))

    def model() -> nn.Module:
        made = task.model()
        show(made, forward)
        return _slice(made, structure, shape, drawn)

    return _with_model(task, model)


def pruned(task: Task, structure: Structure, shape: Shape, forward: Forward) -> Task:
    """The task, with models that have the channels of `shape` alone."""

    def model() -> nn.Module:
        made = task.model()
        show(made, forward)
        return narrowed(made, structure, shape)

    return _with_model(task, model)


def _slice(model: nn.Module, structure: Structure, shape: Shape, drawn: frozenset[str]) -> nn.Module:
    read = [
        (f"{layer.name}.{part}".lstrip("."), axis)
        for layer in layers_of(model).values()
        for part, axis in layer.read
    ]
    wide = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = narrowed(model, structure, shape).state_dict()
    for name, axis in read:
        if name in drawn:
            state[name].mul_((wide[name][axis] / state[name].shape[axis]) ** 0.5)
    return model


def _with_model(task: Task, model: Callable[[], nn.Module]) -> Task:
    smaller = copy.copy(task)
    vars(smaller)["model"] = model
    return smaller
