"""Where encoded tensors are kept: inside the record when small, else in a blob."""

from __future__ import annotations

from muster.protocol.records import INLINE_BYTES_MAX, Payload
from muster.storage.store import Store

# Of an update. What is pulled comes a round trip later, or two; but what is inside a record fills every link
# that is not spared it (network/exchange_holding), and a disk as long as there are records.
UPDATE_INLINE_BYTES_MAX = 2560


def keep_payload(
    store: Store, codec: str, message: bytes, inline_bytes_max: int = INLINE_BYTES_MAX
) -> Payload:
    """A message as a payload; a blob is durable when this returns."""
    if len(message) <= inline_bytes_max:
        return Payload(codec, len(message), inline=message)
    return Payload(codec, len(message), blob=store.put_blob(message))


def payload_held(store: Store, payload: Payload) -> bool:
    return payload.inline is not None or (payload.blob is not None and store.has_blob(payload.blob))


def payload_bytes(store: Store, payload: Payload) -> bytes:
    """The bytes of a payload that is held."""
    if payload.inline is not None:
        return payload.inline
    assert payload.blob is not None
    return store.read_blob(payload.blob)
