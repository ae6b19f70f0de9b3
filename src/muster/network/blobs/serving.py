"""Answering neighbours that ask for chunks: from what is held, or as it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias

from muster.network.blobs.chunk_messages import (
    ANSWER_BYTES_MAX,
    HEAD_BYTES,
    PREFIX_BYTES,
    Ask,
    Status,
    decode_ask,
    encode_answer,
    prefix,
)
from muster.network.blobs.state import KnownBlobs, Transfer, TransferLimits, loop_time_s
from muster.network.transport.link import Refused
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.records import BlobId, NodeId
from muster.storage.store import StorageError, Store

Relay: TypeAlias = Callable[[BlobId, int, Ask], Transfer | None]


class ChunkServer:
    """`serve` is the link's handler."""

    def __init__(
        self,
        store: Store,
        limits: TransferLimits,
        traffic: TrafficCounters,
        known: KnownBlobs,
        table: Mapping[BlobId, Transfer],
        *,
        relay: Relay,
        choose: Callable[[Transfer], None],
    ) -> None:
        """`relay`: get a blob for a neighbour (None: this node will not); `choose`: its sources anew."""
        self._store, self._limits, self._traffic = store, limits, traffic
        self._known, self._table = known, table
        self._relay, self._choose = relay, choose
        self._held: dict[NodeId, int] = {}  # questions held open

    async def serve(self, asker: NodeId, payload: bytes) -> bytes:
        try:
            ask = decode_ask(payload)
        except ValueError as error:
            raise Refused(str(error)) from error
        answer = await self._answered(asker, ask)
        size_bytes = len(answer) - HEAD_BYTES
        if size_bytes:
            self._traffic.add_chunk(asker, prefix(ask.id), ask.offset, size_bytes)
        self._traffic.add_exchange(asker, HEAD_BYTES)
        return answer

    async def _answered(self, asker: NodeId, ask: Ask) -> bytes:
        if len(ask.id) == 32:
            self._known.remember(ask.id, ask.size_bytes)
        known = self._known.find(prefix(ask.id))
        if known is None:
            return encode_answer(Status.UNKNOWN)
        blob, size_bytes = known
        asked_s = loop_time_s()
        try:
            answer = self._answer_held(blob, size_bytes, ask)
            if answer is not None:
                return answer
            transfer = self._table.get(blob)
            if ask.length == 0:
                return encode_answer(Status.NO if transfer is None else Status.PARTIAL)
            if transfer is None:
                if len(ask.id) == PREFIX_BYTES:
                    return encode_answer(Status.UNKNOWN)
                transfer = self._relay(blob, size_bytes, ask)
            if transfer is None or transfer.size_bytes != size_bytes:
                return encode_answer(Status.NO)
            return await self._answer_coming(asker, transfer, ask, asked_s)
        except StorageError as error:
            raise Refused(str(error)) from error

    def _answer_held(self, blob: BlobId, size_bytes: int, ask: Ask, held_s: float = 0.0) -> bytes | None:
        """The answer of one who has the whole blob; None if this node has not."""
        have_bytes = self._store.blob_size(blob)
        if have_bytes is None:
            return None
        if have_bytes != size_bytes or ask.offset > have_bytes:
            return encode_answer(Status.NO)
        length = min(ask.length, ANSWER_BYTES_MAX, have_bytes - ask.offset)
        data = self._store.read_blob(blob, ask.offset, length) if length else b""
        return encode_answer(Status.WHOLE, data, held_s)

    async def _answer_coming(self, asker: NodeId, transfer: Transfer, ask: Ask, asked_s: float) -> bytes:
        """Hand on what is there of the range, or wait for it for a while."""
        length = min(ask.length, ANSWER_BYTES_MAX, transfer.size_bytes - ask.offset)
        if length <= 0:
            return encode_answer(Status.NO)
        transfer.asked_s = asked_s
        if not transfer.path.issuperset(ask.path):
            # Whoever is behind an asker is not asked to get it for us, and those that we ask are told so:
            # questions that wait for each other in a ring would keep each other alive.
            transfer.path |= frozenset(ask.path)
            if not transfer.fetchers:
                transfer.introduce_again()
        transfer.hurry(ask.offset)
        self._choose(transfer)
        limits = self._limits
        deadline_s = asked_s + limits.hold_s
        while True:
            held_s = loop_time_s() - asked_s
            answer = self._answer_held(transfer.blob, transfer.size_bytes, ask, held_s)
            if answer is not None:
                return answer
            ready_bytes = transfer.held_from(ask.offset, length)
            if ready_bytes:
                return encode_answer(Status.PARTIAL, transfer.partial.read(ask.offset, ready_bytes), held_s)
            mine = self._held.get(asker, 0)
            full = mine >= limits.held_asks_neighbour_max or sum(self._held.values()) >= limits.held_asks_max
            if full or loop_time_s() >= deadline_s or self._table.get(transfer.blob) is not transfer:
                if len(transfer.told_not_yet) < limits.neighbours_max:
                    transfer.told_not_yet[asker] = None
                return encode_answer(Status.NOT_YET, held_s=held_s)
            await self._wait_for_data(asker, transfer, deadline_s)

    async def _wait_for_data(self, asker: NodeId, transfer: Transfer, deadline_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        transfer.waiters[waiter] = None
        self._held[asker] = self._held.get(asker, 0) + 1
        timer = loop.call_at(deadline_s, _let_go, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            transfer.waiters.pop(waiter, None)
            self._held[asker] -= 1
            if not self._held[asker]:
                del self._held[asker]


def _let_go(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
