"""A model of one shape: its tensors, and how those of a model of another shape become its."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from muster.algorithms.slimming.carrying import carry, layout_of
from muster.algorithms.slimming.shape import Shape, whole
from muster.algorithms.slimming.structure import Structure
from muster.compression.buffers import is_weight
from muster.compression.codec import Vector
from muster.compression.embedding_rows import parts
from muster.compression.tensors import Array, Layout, is_unchanged


@dataclass(frozen=True)
class Form:
    """A model of one shape; `whole_layout` and `structure` are those of the model that it was cut from."""

    whole_layout: Layout
    structure: Structure
    shape: Shape

    @classmethod
    def of(cls, layout: Layout, structure: Structure, shape: bytes) -> Form:
        """`shape` as in `Commit`. Raises StructureError for the shape of another model."""
        kept = Shape.from_bytes(structure, shape) if shape else whole(structure)
        return cls(layout, structure, kept)

    def to_bytes(self) -> bytes:
        """The shape as in `Commit`; of the whole model, too."""
        return self.shape.to_bytes(self.structure)

    @cached_property
    def layout(self) -> Layout:
        if self.shape == whole(self.structure):
            return self.whole_layout
        return layout_of(self.whole_layout, self.structure, self.shape)

    @property
    def pruned(self) -> bool:
        """Whether channels are missing."""
        return self.shape != whole(self.structure)

    def common(self, other: Form) -> Form | None:
        """The form with the channels that both have; None: they are of two models, or of a group they have no
        channel in common."""
        if (self.whole_layout, self.structure) != (other.whole_layout, other.structure):
            return None
        pairs = zip(self.shape.kept, other.shape.kept, strict=True)
        kept = tuple(tuple(sorted(set(mine) & set(theirs))) for mine, theirs in pairs)
        return replace(self, shape=Shape(kept)) if all(kept) else None

    def params(self, arrays: Mapping[str, Array], old: Form) -> Mapping[str, Array]:
        """Parameters of the form `old` as this one's; what that one has not is 0."""
        if old.shape == self.shape:
            return arrays
        return carry(arrays, self.structure, old.shape, self.shape)

    def change(
        self, change: Mapping[str, Array], old: Form, base: Callable[[], Mapping[str, Array]]
    ) -> Mapping[str, Array]:
        """A change of a model of the form `old` as one of a model of this form, `base`.

        Channels that the other one has not stay as they are.
        """
        if old.shape == self.shape:
            return change
        found = carry(change, self.structure, old.shape, self.shape)
        for spec in self.layout.tensors:
            if not spec.averaged or spec.name not in self.structure.axes:
                continue
            if is_unchanged(change[spec.name]):
                found[spec.name] = np.full(spec.shape, np.nan, spec.change_dtype)
            elif not self.shape.within(old.shape):  # a statistic travels as its value
                one, stays = {spec.name: change[spec.name]}, {spec.name: base()[spec.name]}
                found |= carry(one, self.structure, old.shape, self.shape, missing=stays)
        return found

    def residual(self, vector: Vector, old: Form) -> Vector:
        """What messages of the form `old` left out, for messages of this one; nothing of other channels."""
        if old.shape == self.shape:
            return vector
        arrays = {spec.name: part.reshape(spec.shape) for spec, part in parts(old.layout, vector)}
        found = carry(arrays, self.structure, old.shape, self.shape)
        weights = [found[spec.name].reshape(-1) for spec in self.layout.tensors if is_weight(spec)]
        return np.concatenate(weights).astype(np.float32, copy=False)
