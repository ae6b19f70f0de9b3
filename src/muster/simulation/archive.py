"""Everything that any simulated node ever wrote, from which the invariants are judged afterwards."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.history.counted import Key
from muster.job.coordinator.round_planner import Inputs
from muster.protocol.envelope import unpack
from muster.protocol.ids import BlobId, CommitId, NodeId, RecordId
from muster.protocol.records import Record, Update
from muster.protocol.versions import VERSION, Unknown
from muster.simulation.later import LaterVocabulary

# What commits up to this one left out; of updates: what a model of this shape left out.
Left: TypeAlias = tuple[CommitId | bytes, NDArray[np.float32]]


@dataclass
class Archive:
    """Records and blobs by their ids; `story` is for people, `trace` tells whether two runs are equal."""

    records: dict[RecordId, tuple[NodeId, Record]] = field(default_factory=dict)
    # those of the next version: author, kind, bytes
    later: dict[RecordId, tuple[NodeId, str, bytes]] = field(default_factory=dict)
    updates: list[RecordId] = field(default_factory=list)
    trained: dict[RecordId, NDArray[np.float32]] = field(default_factory=dict)  # before any compression
    # into an update, by a coordinator of before; and whose offers had come there by then, in that order
    brought: dict[RecordId, tuple[Left, list[NodeId]]] = field(default_factory=dict)
    kept: dict[RecordId, Left | None] = field(default_factory=dict)  # that an update's author left out so far
    left: dict[RecordId, tuple[Left | None, Left | None]] = field(default_factory=dict)  # before, after
    planned: dict[RecordId, Inputs] = field(default_factory=dict)  # what plans were made from
    when: dict[RecordId, float] = field(default_factory=dict)  # first written
    floods: Counter[NodeId] = field(default_factory=Counter)  # by whom, how many
    blobs: dict[BlobId, bytes] = field(default_factory=dict)
    story: list[tuple[float, str, str]] = field(default_factory=list)  # time, node, what
    _all: LaterVocabulary = field(default_factory=LaterVocabulary)
    _trace: hashlib._Hash = field(default_factory=hashlib.sha256)

    def wrote(self, now_s: float, name: str, record_id: RecordId, wire: bytes) -> None:
        self._trace.update(b"%.6f %s " % (now_s, name.encode()) + record_id)
        if record_id not in self.records:
            signed = unpack(wire)
            record = self._all.read(signed.body, signed.needs)
            assert not isinstance(record, Unknown)
            self.records[record_id] = (signed.author, record)
            if signed.needs > VERSION:
                self.later[record_id] = signed.author, record.KIND, wire
            if isinstance(record, Update):
                self.updates.append(record_id)
            self.when[record_id] = now_s

    def tell(self, now_s: float, name: str, text: str) -> None:
        self._trace.update(f"{now_s:.6f} {name} {text}".encode())
        self.story.append((now_s, name, text))

    def trace(self) -> str:
        """Equal runs have equal traces."""
        return self._trace.hexdigest()[:16]

    def update(self, record_id: RecordId) -> tuple[Key, Update]:
        """A known update and its key, which is unique within its job."""
        author, record = self.records[record_id]
        assert isinstance(record, Update)
        return Key(author, record.incarnation, record.sequence), record
