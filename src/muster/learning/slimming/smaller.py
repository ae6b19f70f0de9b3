"""A module with other numbers of channels: real layers, under the same names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from muster.algorithms.slimming.carrying import narrow
from muster.algorithms.slimming.shape import Shape
from muster.algorithms.slimming.structure import Structure
from muster.compression.tensors import Array
from muster.learning.conversion import array_of, tensor_of
from muster.learning.slimming.layers import resize


def narrowed(model: nn.Module, structure: Structure, shape: Shape) -> nn.Module:
    """`model` itself, with the channels of `shape` alone and their parameters."""
    state = model.state_dict()
    return resized(model, narrow({name: array_of(state[name]) for name in structure.axes}, structure, shape))


def resized(model: nn.Module, arrays: Mapping[str, Array]) -> nn.Module:
    """`model` itself, with these tensors in the place of its own ones, and layers of their sizes."""
    state, modules = model.state_dict(keep_vars=True), dict(model.named_modules())
    for name, array in arrays.items():
        path, _, part = name.rpartition(".")
        old, new = state[name], tensor_of(array)
        if isinstance(old, nn.Parameter):
            new = nn.Parameter(new, old.requires_grad)
        setattr(modules[path], part, new)
    for path in {name.rpartition(".")[0] for name in arrays}:
        resize(modules[path])
    return model
