"""Keeps on disk what lossy messages left out so far (error feedback): one vector a job and direction.

"up" is what this node's updates left out, kept under the shape of the model that the last one was made on.
"down" is what the commits left out that it made as coordinator, kept under the last one's id; until it is
brought in, every model that comes from that commit lacks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.form import Form
from muster.history.graph import Graph
from muster.job.models.store import ModelStore
from muster.protocol.ids import BlobId, CommitId, JobId
from muster.storage.store import Blobs, StagedBlob, Store

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """A residual on the disk, and the tag that it is kept under."""

    tag: bytes
    blob: BlobId
    offset: int  # in the blob, of the vector


def find(store: Store, direction: str, job: JobId) -> Kept | None:
    """The residual that is kept now, or None."""
    kept = store.state(_key(direction, job))
    if kept is None:
        return None
    tag, blob = msgspec.msgpack.decode(kept, type=tuple[bytes, bytes])
    return Kept(tag, blob, len(_key(direction, job))) if store.has_blob(blob) else None


def read(store: Blobs, kept: Kept) -> Vector:
    """The vector itself, not to be written to. Takes long; in any thread.

    Raises KeyError when another one replaced it.
    """
    return np.frombuffer(store.read_blob(kept.blob, kept.offset), "<f4").astype(np.float32, copy=False)


@dataclass(frozen=True)
class LeftOut:
    """A residual, the form of the model whose messages left it, and the part that is to be brought in."""

    kept: Kept
    form: Form
    part: float = 1.0

    def read(self, store: Blobs, onto: Form) -> Vector:
        """That part, for a model of the form `onto`. Takes long; in any thread. Raises KeyError as `read`."""
        vector = onto.residual(read(store, self.kept), self.form)
        return vector if self.part == 1.0 else vector * np.float32(self.part)


def left_out(kept: Kept | None, graph: Graph, models: ModelStore, head: CommitId) -> LeftOut | None:
    """What the parameters of `head` lack of this node's "down" residual, or None."""
    form = models.form_of(kept.tag) if kept is not None else None
    part = graph.influence(kept.tag, head) if kept is not None and kept.tag in graph.points else 0.0
    return LeftOut(kept, form, part) if kept is not None and form is not None and part else None


def tagged(store: Store, direction: str, job: JobId) -> tuple[bytes, Vector] | None:
    """The residual and the tag that it is kept under, or None."""
    kept = find(store, direction, job)
    return (kept.tag, read(store, kept)) if kept is not None else None


def load(store: Store, direction: str, job: JobId) -> Vector | None:
    """The residual, whatever it is kept under, or None."""
    kept = find(store, direction, job)
    return read(store, kept) if kept is not None else None


def stage(store: Blobs, direction: str, job: JobId, residual: Vector | None) -> StagedBlob | None:
    """Write a residual aside, to be kept; None when nothing was left out. Takes long; in any thread."""
    if residual is None or not residual.any():
        return None
    # with its name before it: two jobs may have equal residuals, and each deletes its own
    return store.stage((_key(direction, job).encode(), residual.astype("<f4", copy=False).data))


def keep(store: Store, direction: str, job: JobId, staged: StagedBlob | None, tag: bytes = b"") -> None:
    """Replace the residual by what was staged; None deletes it.

    Call it inside the transaction that keeps the message which left the residual.
    """
    old = store.state(_key(direction, job))
    blob = b""
    if staged is None:
        store.set_state(_key(direction, job), None)
    else:
        blob = store.put_staged(staged)
        store.set_state(_key(direction, job), msgspec.msgpack.encode((tag, blob)))
    if old is not None:
        _, old_blob = msgspec.msgpack.decode(old, type=tuple[bytes, bytes])
        if old_blob != blob and store.has_blob(old_blob):
            store.delete_blob(old_blob)


def _key(direction: str, job: JobId) -> str:
    return f"residual/{direction}/{job.hex()}"
