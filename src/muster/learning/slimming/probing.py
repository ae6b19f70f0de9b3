"""Finds by trying where the channels of each layer go: what was made NaN comes out as NaN.

A layer that reads channels takes zeros in their place, so that nothing is seen behind it.  One call for each
layer says which places of which inputs it reaches.  Then all layers at once mark the channels whose number
has a certain bit, and in another call the others: so two calls a bit say which channel is at each place,
whatever lies between: activations, pooling, sums, concatenations, flattening in any order.  A place where
channels mix has a bit in both calls.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils._pytree import tree_leaves

from muster.learning.slimming.layers import Layer, layers_of

Mask = NDArray[np.bool_]
Forward = Callable[[nn.Module], Any]  # calls a model with a few samples: what comes out


@dataclass(frozen=True)
class Place:
    """One index on the channel axis of what comes into a layer: the layers whose channels come here, and the
    number that the channel has in each of them; -1: several channels are mixed."""

    makers: tuple[str, ...]
    channel: int


@dataclass(frozen=True)
class Paths:
    """Where the channels of a model go. `inputs`: of each layer that is reached, its places by their index;
    `out`: layers whose channels come out of the model as they are."""

    layers: Mapping[str, Layer]
    inputs: Mapping[str, dict[int, Place]]
    out: frozenset[str]


@dataclass
class _Seen:
    """What one call showed: which places of each layer's input held NaN, and whether the output did."""

    inputs: dict[str, Mask] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    out: bool = False


def paths_of(model: nn.Module, forward: Forward) -> Paths:
    """The paths of a model in evaluation mode. Raises what the model raises."""
    layers = layers_of(model)
    once = _call(model, forward, layers, {}).calls
    layers = {name: layer for name, layer in layers.items() if once[name] == 1}
    makers = {name: layer.channels for name, layer in layers.items() if layer.made}
    seen = {
        name: _call(model, forward, layers, {name: np.ones(size, np.bool_)}) for name, size in makers.items()
    }
    bits = max(1, math.ceil(math.log2(max(makers.values(), default=1))))
    marked = [_marked(model, forward, layers, makers, bit, inverse=False) for bit in range(bits)]
    others = [_marked(model, forward, layers, makers, bit, inverse=True) for bit in range(bits)]
    inputs: dict[str, dict[int, Place]] = {}
    for reader in layers:
        reaching = {name: found.inputs[reader] for name, found in seen.items() if found.inputs[reader].any()}
        for index in np.flatnonzero(np.any(list(reaching.values()), axis=0)) if reaching else ():
            here = tuple(name for name, mask in reaching.items() if mask[index])
            code = [(one.inputs[reader][index], other.inputs[reader][index])
                    for one, other in zip(marked, others, strict=True)]  # fmt: skip
            clear = all(one != other for one, other in code)
            channel = sum(1 << bit for bit, (one, _) in enumerate(code) if one) if clear else -1
            inputs.setdefault(reader, {})[int(index)] = Place(here, channel)
    return Paths(layers, inputs, frozenset(name for name, found in seen.items() if found.out))


def _marked(
    model: nn.Module,
    forward: Forward,
    layers: Mapping[str, Layer],
    makers: Mapping[str, int],
    bit: int,
    *,
    inverse: bool,
) -> _Seen:
    masks = {name: (np.arange(size) >> bit & 1 == 1) != inverse for name, size in makers.items()}
    return _call(model, forward, layers, masks)


def _call(
    model: nn.Module, forward: Forward, layers: Mapping[str, Layer], marks: Mapping[str, Mask]
) -> _Seen:
    """Call the model with the marked channels of each layer NaN."""
    seen = _Seen()

    def before(layer: Layer) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            given = inputs[0]
            nan = given.isnan()
            seen.calls[layer.name] += 1
            seen.inputs[layer.name] = _along(nan, layer.dim)
            return (given.masked_fill(nan, 0.0), *inputs[1:]) if layer.read else inputs

        return hook

    def after(layer: Layer, mark: Mask) -> Callable[[nn.Module, tuple[Any, ...], torch.Tensor], torch.Tensor]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
            return output.index_fill(layer.dim, torch.from_numpy(np.flatnonzero(mark)), math.nan)

        return hook

    with ExitStack() as hooks, torch.no_grad():
        for name, module in model.named_modules():
            if name in layers:
                hooks.callback(module.register_forward_pre_hook(before(layers[name])).remove)
                if name in marks:
                    hooks.callback(module.register_forward_hook(after(layers[name], marks[name])).remove)
        for leaf in tree_leaves(forward(model)):
            if isinstance(leaf, torch.Tensor) and leaf.is_floating_point():
                seen.out |= bool(leaf.isnan().any())
    return seen


def _along(nan: torch.Tensor, dim: int) -> Mask:
    """Whether there is a NaN at each index of an axis."""
    found: Mask = nan.movedim(dim, 0).flatten(1).any(1).numpy() if nan.ndim > 1 else nan.numpy()
    return found
