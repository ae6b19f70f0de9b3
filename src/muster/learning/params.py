"""Between a torch module and named arrays: a new model, its layout, its parameters out and in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muster.compression.tensors import Layout, TensorSpec, expand
from muster.learning.task import Task


def fresh_model(task: Task, seed: int) -> nn.Module:
    """The model that a job without starting parameters begins with. Seeds torch."""
    torch.manual_seed(seed)
    return task.model()


def layout_of(model: nn.Module) -> Layout:
    """The layout of the model's state_dict: parameters and buffers, a tied tensor once under its first name.

    Raises TensorError for a dtype that muster does not carry, such as bfloat16.
    """
    first: dict[int, str] = {}
    learnt = {id(tensor) for tensor in model.parameters()}
    tensors: list[TensorSpec] = []
    aliases: list[tuple[str, str]] = []
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            aliases.append((name, first[id(tensor)]))
            continue
        first[id(tensor)] = name
        dtype = str(tensor.dtype).removeprefix("torch.")
        tensors.append(TensorSpec(name, tuple(tensor.shape), dtype, id(tensor) in learnt))
    return Layout(tuple(tensors), tuple(aliases))


def arrays_of(model: nn.Module, layout: Layout) -> dict[str, NDArray[Any]]:
    """Copies of the model's tensors, by name, in layout order."""
    state = model.state_dict()
    return {spec.name: state[spec.name].detach().cpu().numpy().copy() for spec in layout.tensors}


def load_into(model: nn.Module, layout: Layout, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Set the model's tensors, the tied ones too."""
    full = expand(layout, arrays)
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in full.items()})
