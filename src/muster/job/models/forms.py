"""The forms that a job's model has, by the channels that are left; how tensors of one become another's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.carrying import carry, layout_of
from muster.algorithms.slimming.shape import Shape, whole
from muster.algorithms.slimming.structure import Structure, StructureError
from muster.compression.buffers import is_weight
from muster.compression.embedding_rows import parts
from muster.compression.tensors import Array, Layout, is_unchanged
from muster.protocol.records import JobId
from muster.storage.store import Store

Vector = NDArray[np.float32]


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

    @cached_property
    def layout(self) -> Layout:
        if self.shape == whole(self.structure):
            return self.whole_layout
        return layout_of(self.whole_layout, self.structure, self.shape)

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


class JobForms:
    """Owns what a node knows of the model that a job begins with: its tensors and groups of channels."""

    def __init__(self, store: Store, job: JobId) -> None:
        self._store, self._job = store, job
        self._layout: Layout | None = None
        self._structure: Structure | None = None
        self._forms: dict[bytes, Form | None] = {}

    @property
    def layout(self) -> Layout | None:
        """None until it is learnt, in this life of the process or another one."""
        if self._layout is None and (kept := self._store.state(self._key("layout"))) is not None:
            self._layout = Layout.from_plain(msgspec.msgpack.decode(kept))
        return self._layout

    @property
    def structure(self) -> Structure | None:
        """As `layout`; a job whose models are all whole ones needs none."""
        if self._structure is None and (kept := self._store.state(self._key("structure"))) is not None:
            self._structure = Structure.from_plain(msgspec.msgpack.decode(kept))
        return self._structure

    def learn_layout(self, layout: Layout) -> None:
        """Keep it in the node's store."""
        if self.layout != layout:
            self._store.set_state(self._key("layout"), msgspec.msgpack.encode(layout.to_plain()))
            self._layout, self._forms = layout, {}

    def learn_structure(self, structure: Structure) -> None:
        """Keep it in the node's store."""
        if self.structure != structure:
            self._store.set_state(self._key("structure"), msgspec.msgpack.encode(structure.to_plain()))
            self._structure, self._forms = structure, {}

    def form(self, shape: bytes) -> Form | None:
        """The form of a shape as in `Commit`; None: too little is known, or it is another model's."""
        if self.layout is None or (shape and self.structure is None):
            return None
        if shape not in self._forms:
            try:
                self._forms[shape] = Form.of(self.layout, self.structure or Structure(), shape)
            except StructureError:
                self._forms[shape] = None
        return self._forms[shape]

    def _key(self, what: str) -> str:
        return f"{what}/{self._job.hex()}"
