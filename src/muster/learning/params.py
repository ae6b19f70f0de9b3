"""Between a torch module and named arrays: a new model, the parameters that travel out of it and into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from muster.compression.tensors import Layout, TensorError, expand
from muster.learning.conversion import array_of, tensor_of
from muster.learning.faults import TaskFault
from muster.learning.task import Task
from muster.learning.travel import kinds

Forward = Callable[[nn.Module], object]


def fresh_model(task: Task, seed: int, forward: Forward | None = None) -> nn.Module:
    """A new model of the task. Seeds torch.

    Layers that take their shape from what they see are shown something by `forward`, such as a call of the
    model with two samples.  Raises TaskFault.
    """
    torch.manual_seed(seed)
    model = task.model()
    if not isinstance(model, nn.Module):
        raise TaskFault(f"model() must return a torch.nn.Module, not {type(model).__name__}")
    if forward is not None:
        show(model, forward)
    return model


def show(model: nn.Module, forward: Forward) -> None:
    """Let layers that have no shape yet see something."""
    if any(map(is_lazy, _tensors(model))):
        training = model.training
        model.eval()
        with torch.no_grad():
            forward(model)
        model.train(training)


def start_model(task: Task, seed: int, layout: Layout, forward: Forward | None = None) -> nn.Module:
    """The model that a job without starting parameters begins with: only what travels follows from the job's
    seed, a weight and the buffers that go with it alike. All else is made with the seed 0, so that it is the
    same in every job."""
    model = fresh_model(task, 0, forward)
    if seed != 0:
        drawn = fresh_model(task, seed, forward)
        load_into(model, layout, arrays_of(drawn, layout))
    return model


def layout_of(model: nn.Module) -> Layout:
    """The layout of a model all of whose buffers are taken to change in training."""
    return kinds.decide(model, kinds.buffers(model)).layout


def arrays_of(model: nn.Module, layout: Layout) -> dict[str, NDArray[Any]]:
    """Copies of the model's tensors that travel, by name, in layout order."""
    state = model.state_dict()
    return {spec.name: array_of(state[spec.name]) for spec in layout.tensors}


def load_into(model: nn.Module, layout: Layout, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set the model's tensors that travel, tied ones under all of their names; the others stay."""
    full = expand(layout, arrays)
    odd = model.load_state_dict({name: tensor_of(array) for name, array in full.items()}, strict=False)
    if odd.unexpected_keys:
        raise TensorError(f"the model has no tensor {odd.unexpected_keys[0]!r}")


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
