"""Structures of made-up models, with tensors that fit them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from muster.algorithms.slimming.shape import Shape
from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.compression.tensors import Array, Layout, TensorSpec


@dataclass(frozen=True)
class MadeUp:
    structure: Structure
    layout: Layout
    arrays: dict[str, Array]


def made_up(seed: int) -> MadeUp:
    """A model with tensors in no group, a flattened and a concatenated axis."""
    rng = np.random.default_rng(seed)
    sizes = [int(n) for n in rng.integers(1, 9, 3)]
    block = int(rng.integers(1, 4))
    slots: list[list[Slot]] = [
        [Slot(f"make{i}.weight", 0), Slot(f"make{i}.bias", 0), Slot(f"norm{i}.mean", 0)] for i in range(3)
    ]
    shapes: dict[str, tuple[int, ...]] = {"alone": (3, 2), "scalar": ()}
    inputs = 3
    for i, size in enumerate(sizes):
        shapes |= {f"make{i}.weight": (size, inputs, 2), f"make{i}.bias": (size,), f"norm{i}.mean": (size,)}
        if i == 1:
            slots[0].append(Slot("make1.weight", 1))
        inputs = size if i == 0 else 3
    # reads two groups one behind the other, after one index of its own, and each channel as `block` inputs
    slots[1].append(Slot("read.weight", 1, block, 1))
    slots[2].append(Slot("read.weight", 1, block, 1 + block * sizes[1]))
    shapes["read.weight"] = (4, 2 + block * (sizes[1] + sizes[2]))
    structure = Structure(tuple(Group(n, tuple(s)) for n, s in zip(sizes, slots, strict=True)))
    specs = [TensorSpec(name, shape, "float32") for name, shape in shapes.items()]
    specs.append(TensorSpec("count", (), "int64", learnt=False))
    arrays: dict[str, Array] = {
        spec.name: np.asarray(rng.normal(size=spec.shape) * (10 if spec.dtype == "int64" else 1)).astype(
            spec.dtype
        )
        for spec in specs
    }
    return MadeUp(structure, Layout(tuple(specs)), arrays)


def drawn_shape(structure: Structure, seed: int) -> Shape:
    rng = np.random.default_rng(seed)
    kept = []
    for group in structure.groups:
        count = int(rng.integers(1, group.size + 1))
        kept.append(tuple(sorted(int(c) for c in rng.choice(group.size, count, replace=False))))
    return Shape(tuple(kept))


seeds = st.integers(0, 2**32 - 1)
