"""Keeps on disk what lossy messages left out so far (error feedback): one vector a job and direction.

"up" is what this node's updates left out.  "down" is what the commits left out that it made as coordinator,
kept under the last one's id; until it is brought in, every model that comes from that commit lacks it.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from muster.history.graph import Graph
from muster.protocol.records import CommitId, JobId
from muster.storage.store import Store

Vector = NDArray[np.float32]


def left_out(store: Store, job: JobId, graph: Graph, head: CommitId) -> Vector | None:
    """The part of this node's "down" residual that the parameters of `head` lack; None: no part of it."""
    found = tagged(store, "down", job)
    if found is None or found[0] not in graph.points:
        return None
    part = graph.influence(found[0], head)
    return found[1] * np.float32(part) if part else None


def tagged(store: Store, direction: str, job: JobId) -> tuple[bytes, Vector] | None:
    """The residual and the tag that it is kept under, or None."""
    kept = store.state(_key(direction, job))
    if kept is None:
        return None
    tag, blob = msgspec.msgpack.decode(kept, type=tuple[bytes, bytes])
    if not store.has_blob(blob):
        return None
    data = store.read_blob(blob, len(_key(direction, job)))
    return tag, np.frombuffer(data, "<f4").astype(np.float32)


def load(store: Store, direction: str, job: JobId) -> Vector | None:
    """The residual, whatever it is kept under, or None."""
    found = tagged(store, direction, job)
    return found[1] if found is not None else None


def keep(store: Store, direction: str, job: JobId, residual: Vector | None, tag: bytes = b"") -> None:
    """Replace the residual; None deletes it.

    Call it inside the transaction that keeps the message which left the residual.
    """
    old = store.state(_key(direction, job))
    if residual is None or not residual.any():
        store.set_state(_key(direction, job), None)
        blob = b""
    else:
        # with its name before it: two jobs may have equal residuals, and each deletes its own
        blob = store.put_blob(_key(direction, job).encode() + residual.astype("<f4").tobytes())
        store.set_state(_key(direction, job), msgspec.msgpack.encode((tag, blob)))
    if old is not None:
        _, old_blob = msgspec.msgpack.decode(old, type=tuple[bytes, bytes])
        if old_blob != blob and store.has_blob(old_blob):
            store.delete_blob(old_blob)


def _key(direction: str, job: JobId) -> str:
    return f"residual/{direction}/{job.hex()}"
