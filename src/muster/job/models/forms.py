"""What a node knows of the forms that a job's model has, by the channels that are left."""

from __future__ import annotations

from itertools import islice

import msgspec

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Structure, StructureError
from muster.compression.tensors import Layout
from muster.history.point import Point
from muster.job.view import JobView
from muster.protocol.ids import JobId
from muster.storage.store import Store


class JobForms:
    """Owns what a node knows of the model that a job begins with: its tensors and groups of channels."""

    def __init__(self, store: Store, job: JobId) -> None:
        self._store, self._job = store, job
        self._layout: Layout | None = None
        self._structure: Structure | None = None
        self._forms: dict[bytes, Form | None] = {}
        self.version = 0  # grows with what is learnt

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

    def lacks_structure(self, view: JobView) -> bool:
        """Whether the groups of channels are not known here in a job whose models are not all whole."""
        begins_pruned = any(point.shape for point in islice(view.graph.points.values(), 1))
        return self.structure is None and (view.job.prune is not None or begins_pruned)

    def learn_layout(self, layout: Layout) -> None:
        """Keep it in the node's store."""
        if self.layout != layout:
            self._store.set_state(self._key("layout"), msgspec.msgpack.encode(layout.to_plain()))
            self._layout, self._forms = layout, {}
            self.version += 1

    def learn_structure(self, structure: Structure) -> None:
        """Keep it in the node's store."""
        if self.structure != structure:
            self._store.set_state(self._key("structure"), msgspec.msgpack.encode(structure.to_plain()))
            self._structure, self._forms = structure, {}
            self.version += 1

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

    def foreign(self, point: Point, view: JobView) -> bool:
        """Whether a commit's model can be none of the task's, as far as the task's model is known here.

        A merge is made here from its parents: it never is.
        """
        shape = point.shape
        if point.is_merge or shape is None or self.layout is None:
            return False
        if shape and self.lacks_structure(view):
            return False
        form = self.form(shape)
        return form is None or form.layout.blob_bytes != point.params_bytes

    def _key(self, what: str) -> str:
        return f"{what}/{self._job.hex()}"
