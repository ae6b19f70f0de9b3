"""The groups of channels of a torch module, each of them proven on a few samples.

torch-pruning 1.6.1 finds the same groups in chains and residual networks, but takes what it does not know for
an operation that keeps channels in their order: behind a permutation that is flattened it couples the wrong
columns, in silence (docs/notes/2026-11-30-smaller-models.md).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from muster.algorithms.slimming.carrying import carry, narrow
from muster.algorithms.slimming.shape import Shape, whole
from muster.algorithms.slimming.structure import CHANNELS_MAX, Group, Slot, Structure
from muster.learning.conversion import array_of, tensor_of
from muster.learning.slimming.layers import Axis
from muster.learning.slimming.probing import Forward, Paths, Place, paths_of
from muster.learning.slimming.smaller import narrowed

Copied: TypeAlias = Callable[[nn.Module], nn.Module]

RELATIVE, ABSOLUTE = 1e-3, 1e-5  # to which outputs of both models must agree


def structure_of(model: nn.Module, forward: Forward, copied: Copied = copy.deepcopy) -> Structure:
    """The groups of `model` that can become smaller; what cannot be proven stays whole.

    `forward` calls a model with a few samples, and returns what comes out; `copied` gives a copy of one.
    Raises what the model raises.
    """
    tried = copied(model).eval()
    found = _groups(paths_of(tried, forward), list(tried.state_dict()))
    _randomise(tried, found)
    if holds(tried, found, forward, copied):
        return Structure(tuple(found))
    alone = [group for group in found if holds(tried, [group], forward, copied)]
    return Structure(tuple(alone) if holds(tried, alone, forward, copied) else ())


def holds(
    model: nn.Module, groups: Sequence[Group], forward: Forward, copied: Copied = copy.deepcopy
) -> bool:
    """Whether a model without some channels of the groups does what the whole one does with zeros in their
    places."""
    structure = Structure(tuple(groups))
    rng = np.random.default_rng(0)
    kept = [rng.choice(g.size, max(1, g.size // 2), replace=False).tolist() for g in groups]
    shape = Shape(tuple(tuple(sorted(channels)) for channels in kept))
    state = model.state_dict()
    arrays = {name: array_of(state[name]) for name in structure.axes}
    zeroed = carry(narrow(arrays, structure, shape), structure, shape, whole(structure))
    masked = copied(model).eval()
    masked.load_state_dict({name: tensor_of(array) for name, array in zeroed.items()}, strict=False)
    small = narrowed(copied(model).eval(), structure, shape)
    try:
        with torch.no_grad():
            torch.manual_seed(0)
            expected = tree_leaves(forward(masked))
            torch.manual_seed(0)
            got = tree_leaves(forward(small))
    except Exception:  # a size that the model's own code takes for granted
        return False
    return len(expected) == len(got) and all(_agree(a, b) for a, b in zip(expected, got, strict=True))


def _agree(a: object, b: object) -> bool:
    if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
        return type(a) is type(b)
    return a.shape == b.shape and torch.allclose(a, b, RELATIVE, ABSOLUTE)


def _groups(paths: Paths, order: Sequence[str]) -> list[Group]:
    """The groups that the paths say, in the order of the model's tensors."""
    together = {name: {name} for name, layer in paths.layers.items() if layer.made}
    whole_ones = set(paths.out)
    for places in paths.inputs.values():
        for place in places.values():
            joined = set().union(*(together[maker] for maker in place.makers))
            together.update(dict.fromkeys(joined, joined))
            if place.channel < 0:
                whole_ones.update(place.makers)
    found: list[Group] = []
    room = CHANNELS_MAX
    rank = {name: i for i, name in enumerate(order)}
    for makers in {id(makers): makers for makers in together.values()}.values():
        group = None if makers & whole_ones else _group(paths, makers, rank)
        if group is not None and 1 < group.size <= room:
            found.append(group)
            room -= group.size
    return found


def _group(paths: Paths, makers: set[str], rank: dict[str, int]) -> Group | None:
    """The group of layers whose channels come together; None where they do not fit each other."""
    sizes = {paths.layers[maker].channels for maker in makers}
    size = min(sizes)
    slots = [slot for maker in makers for slot in _slots(maker, paths.layers[maker].made, 1, 0)]
    readers = 0
    for name, places in paths.inputs.items():
        runs = _runs({i: p for i, p in places.items() if makers & set(p.makers)}, size)
        if len(sizes) > 1 or runs is None:
            return None
        layer = paths.layers[name]
        for block, start in runs:
            slots += _slots(name, layer.read or layer.kept, block, start)
            readers += bool(layer.read)
    slots.sort(key=lambda slot: (rank[slot.tensor], slot.axis, slot.start))
    return Group(size, tuple(slots)) if readers else None


def _slots(layer: str, axes: Iterable[Axis], block: int, start: int) -> list[Slot]:
    prefix = layer + "." if layer else ""
    return [Slot(prefix + tensor, axis, block, start) for tensor, axis in axes]


def _runs(places: dict[int, Place], size: int) -> list[tuple[int, int]] | None:
    """(block, start) of each run in which all channels come one after the other; None for another order."""
    indices = sorted(places)
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(indices):
        start = indices[at]
        block = next((n for n in range(1, len(indices) - at) if places[indices[at + n]].channel != 0),
                     len(indices) - at)  # fmt: skip
        run = indices[at : at + block * size]
        expected = list(range(start, start + block * size))
        if run != expected or any(places[i].channel != (i - start) // block for i in run):
            return None
        found.append((block, start))
        at += len(run)
    return found


def _randomise(model: nn.Module, groups: Sequence[Group]) -> None:
    """Give the groups' tensors values of no special kind: zeros of a fresh model may hide what is wrong."""
    generator = torch.Generator().manual_seed(0)
    state = model.state_dict()
    for name in sorted({slot.tensor for group in groups for slot in group.slots}):
        tensor = state[name]
        drawn = torch.randn(tensor.shape, generator=generator)
        if tensor.ndim > 1:
            drawn /= max(1.0, tensor[0].numel() ** 0.5)
        else:
            drawn = drawn.abs() + 0.5  # a variance, among others
        tensor.copy_(drawn)
