"""Answering neighbours that ask for chunks, as a state machine: from what is held, or as it arrives.

Nothing here sends, waits or reads a clock.  A request for bytes that are still to arrive is held open until
they come; whoever asked in vain is remembered, to be nudged when there is data.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from muster.network.blobs.chunk_messages import (
    ANSWER_BYTES_MAX,
    PREFIX_BYTES,
    Ask,
    KnownBlobs,
    Status,
    encode_answer,
    prefix,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch
from muster.network.blobs.limits import TransferLimits
from muster.protocol.ids import BlobId, NodeId
from muster.storage.store import Store


@dataclass(frozen=True)
class Wanted:
    """A range of this blob is asked for; it is being fetched, or could be."""

    blob: BlobId
    size_bytes: int


class Serving:
    """Decides what neighbours that ask for chunks are answered."""

    def __init__(self, store: Store, limits: TransferLimits, known: KnownBlobs) -> None:
        self._store, self._limits, self._known = store, limits, known
        self._held_open: dict[NodeId, int] = {}  # requests, by asker
        self._waiting_peers: dict[BlobFetch, dict[NodeId, None]] = {}  # to be nudged when there is data
        self._passed_on: dict[BlobId, None] = {}  # whose last bytes somebody got

    def on_ask(self, ask: Ask, arriving: Container[BlobId]) -> bytes | Wanted:
        """What can be answered at once; `arriving`: blobs that are being fetched. Raises StorageError."""
        if len(ask.id) == 32:
            self._known.remember(ask.id, ask.size_bytes)
        known = self._known.find(prefix(ask.id))
        if known is None:
            return encode_answer(Status.UNKNOWN)
        blob, size_bytes = known
        if not self._limits.gives(blob):
            return encode_answer(Status.NO)
        answer = self._from_held(blob, size_bytes, ask)
        if answer is not None:
            return answer
        if ask.length == 0:
            return encode_answer(Status.PARTIAL if blob in arriving else Status.NO)
        if blob not in arriving and len(ask.id) == PREFIX_BYTES:
            return encode_answer(Status.UNKNOWN)
        return Wanted(blob, size_bytes)

    def answer(
        self, asker: NodeId, fetch: BlobFetch, ask: Ask, asked_s: float, now_s: float, *, goes_on: bool
    ) -> bytes | None:
        """The answer from what has arrived by now; None: hold the request open until more has.

        `goes_on`: the blob is still being fetched.  Raises StorageError.
        """
        held_s = now_s - asked_s
        answer = self._from_held(fetch.blob, fetch.size_bytes, ask, held_s)
        if answer is not None:
            return answer
        length = min(ask.length, ANSWER_BYTES_MAX, fetch.size_bytes - ask.offset)
        ready_bytes = fetch.held_from(ask.offset, length)
        if ready_bytes:
            self._gave(fetch.blob, ask.offset + ready_bytes, fetch.size_bytes)
            return encode_answer(Status.PARTIAL, fetch.partial.read(ask.offset, ready_bytes), held_s)
        if goes_on and self._may_hold_open(asker) and now_s < self.until_s(asked_s):
            return None
        waiting = self._waiting_peers.setdefault(fetch, {}) if goes_on else {}
        if len(waiting) < self._limits.neighbours_max:
            waiting[asker] = None
        return encode_answer(Status.NOT_YET, held_s=held_s)

    def until_s(self, asked_s: float) -> float:
        """How long a request of `asked_s` is held open at most."""
        return asked_s + self._limits.hold_s

    def hold_open(self, asker: NodeId) -> None:
        self._held_open[asker] = self._held_open.get(asker, 0) + 1

    def release(self, asker: NodeId) -> None:
        """A request that was held open is not any more."""
        self._held_open[asker] -= 1
        if not self._held_open[asker]:
            del self._held_open[asker]

    def passed_on(self, blob: BlobId) -> bool:
        """Whether a neighbour was given the end of a blob, lately."""
        return blob in self._passed_on

    def take_waiting_peers(self, fetch: BlobFetch) -> dict[NodeId, None]:
        """Those that asked in vain; they are forgotten here."""
        return self._waiting_peers.pop(fetch, {})

    def _may_hold_open(self, asker: NodeId) -> bool:
        if self._held_open.get(asker, 0) >= self._limits.held_asks_neighbour_max:
            return False
        return sum(self._held_open.values()) < self._limits.held_asks_max

    def _from_held(self, blob: BlobId, size_bytes: int, ask: Ask, held_s: float = 0.0) -> bytes | None:
        """The answer of one who has the whole blob; None if this node has not."""
        have_bytes = self._store.blob_size(blob)
        if have_bytes is None:
            return None
        if have_bytes != size_bytes or ask.offset > have_bytes:
            return encode_answer(Status.NO)
        length = min(ask.length, ANSWER_BYTES_MAX, have_bytes - ask.offset)
        data = self._store.read_blob(blob, ask.offset, length) if length else b""
        if data:
            self._gave(blob, ask.offset + length, size_bytes)
        return encode_answer(Status.WHOLE, data, held_s)

    def _gave(self, blob: BlobId, end: int, size_bytes: int) -> None:
        if end < size_bytes:
            return
        self._passed_on[blob] = None
        if len(self._passed_on) > self._limits.known_blobs_max:
            del self._passed_on[next(iter(self._passed_on))]
