"""Planted bugs of pruned jobs and of jobs of one contact."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from planting import Patch, bug

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.shape import Shape
from muster.compression.buffers import weights
from muster.compression.tensors import Array
from muster.job.models import folding, merging, pruning
from muster.job.models.stand_ins import trained_on_pool
from muster.job.uncounted import KnownUpdate
from muster.protocol.ids import NodeId


@bug("what messages left out is cut off where the model ends, not carried by the kept channels")
def residual_not_by_index() -> list[Patch]:
    def residual(self: Form, vector: np.ndarray, old: Form) -> np.ndarray:
        size = weights(self.layout)
        return vector[:size] if size <= vector.size else np.pad(vector, (0, size - vector.size))

    return [(Form, "residual", residual)]


@bug("what messages left out is forgotten when the model is pruned")
def residual_pruned_away() -> list[Patch]:
    def residual(self: Form, vector: np.ndarray, old: Form) -> np.ndarray:
        return vector if self.shape == old.shape else np.zeros(weights(self.layout), np.float32)

    return [(Form, "residual", residual)]


@bug("a late update of the whole model is cut off where the small one ends")
def update_not_by_index() -> list[Patch]:
    real = Form.change

    def change(
        self: Form, change: Mapping[str, Array], old: Form, base: Callable[[], Any]
    ) -> Mapping[str, Array]:
        if self.shape == old.shape:
            return real(self, change, old, base)
        found = {}
        for spec in self.layout.tensors:
            cut = change[spec.name][tuple(slice(0, size) for size in spec.shape)]
            missing = [(0, size - there) for size, there in zip(spec.shape, cut.shape, strict=True)]
            found[spec.name] = np.pad(cut, missing)
        return found

    return [(Form, "change", change)]


@bug("branches that were pruned apart become one of the first one's channels")
def shape_of_the_first() -> list[Patch]:
    def first(structure: object, a: object, shape_a: Shape, b: object, shape_b: Shape) -> Shape:
        return shape_a

    return [(merging, "joined_shape", first)]


@bug("the first channels of a model are kept, not the largest")
def first_channels() -> list[Patch]:
    real = pruning.by_magnitude

    def by_place(arrays: Any, structure: Any, width: float, shape: Shape) -> Shape:
        counts = [len(kept) for kept in real(arrays, structure, width, shape).kept]
        return Shape(tuple(kept[:count] for kept, count in zip(shape.kept, counts, strict=True)))

    return [(pruning, "by_magnitude", by_place)]


@bug("what was trained on all shared samples counts for its trainer alone")
def pool_for_its_trainer() -> list[Patch]:
    real = folding.counts_for

    def counts_for(updates: Sequence[KnownUpdate], *given: Any) -> list[tuple[NodeId, ...]]:
        found = zip(updates, real(updates, *given), strict=True)
        return [(u.key.node,) if trained_on_pool(u) else nodes for u, nodes in found]

    return [(folding, "counts_for", counts_for)]
