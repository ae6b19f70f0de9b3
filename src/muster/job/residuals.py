"""What messages left out so far, kept on disk: one vector a job and direction (design 5.3, 5.5)."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from muster.records import JobId
from muster.storage.store import Store

Vector = NDArray[np.float32]


def load(store: Store, direction: str, job: JobId, tag: bytes | None = b"") -> Vector | None:
    """The residual kept under `tag` (the head it belongs to; None: under whichever), or None."""
    kept = store.state(_key(direction, job))
    if kept is None:
        return None
    known_tag, blob = msgspec.msgpack.decode(kept, type=tuple[bytes, bytes])
    if tag not in (None, known_tag) or not store.has_blob(blob):
        return None
    data = store.read_blob(blob, len(_key(direction, job)))
    return np.frombuffer(data, "<f4").astype(np.float32)


def keep(store: Store, direction: str, job: JobId, residual: Vector | None, tag: bytes = b"") -> None:
    """Replace the residual; call it inside the transaction that keeps the message it belongs to."""
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
