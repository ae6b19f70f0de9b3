"""Keeps and reads encoded tensors: inside the record when they are small, else in a blob."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from muster.protocol.parts import Payload
from muster.protocol.records import INLINE_BYTES_MAX
from muster.storage.store import Blobs, StagedBlob, Store


@dataclass(frozen=True)
class StagedPayload:
    """A message that is to be kept: written aside where it is too large for a record."""

    codec: str
    message: bytes
    staged: StagedBlob | None

    def keep(self, store: Store) -> Payload:
        """Put it into a payload for a record; its blob is durable when this returns."""
        if self.staged is None:
            return Payload(self.codec, len(self.message), inline=self.message)
        return Payload(self.codec, self.staged.size_bytes, blob=store.put_staged(self.staged))


def stage_payload(
    store: Blobs, codec: str, message: bytes, inline_bytes_max: int = INLINE_BYTES_MAX
) -> StagedPayload:
    """Write a message aside. Takes long; in any thread."""
    if len(message) <= inline_bytes_max:
        return StagedPayload(codec, message, None)
    return StagedPayload(codec, b"", store.stage((message,)))


def payload_held(store: Store, payload: Payload) -> bool:
    """Whether a payload's bytes are on this node."""
    return payload.inline is not None or (payload.blob is not None and store.has_blob(payload.blob))


class DamagedPayload(Exception):
    """The blob of a payload is not what its hash says any more; `args` is its id."""


def payload_bytes(store: Blobs, payload: Payload) -> bytes | memoryview:
    """The bytes of a payload that is held."""
    if payload.inline is not None:
        return payload.inline
    assert payload.blob is not None
    return store.read_blob(payload.blob)


def sound_payload_bytes(store: Blobs, payload: Payload) -> bytes | memoryview:
    """The bytes of a payload that is held, compared with their hash. Takes long; in any thread.

    Raises DamagedPayload."""
    data = payload_bytes(store, payload)
    if payload.blob is not None and hashlib.sha256(data).digest() != payload.blob:
        raise DamagedPayload(payload.blob)
    return data
