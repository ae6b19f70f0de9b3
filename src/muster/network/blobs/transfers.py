"""Bulk: blobs pulled in chunks over links that come and go, hop by hop (design sections 2.3 and 6).

Each neighbour has one window of outstanding chunks, so a slow one never holds up a fast one; each blob has
one transfer, whoever wants it.  A transfer pulls from every neighbour that has the whole blob; while nobody
in reach has, from one neighbour at a time that gets it for us and hands chunks on as they arrive, so that a
blob crosses a narrow link once however many want it behind.  A source that has nothing (more) rests for a
growing while; news (`poke`, a neighbour that appears, a nudge) ends the rest, so nothing is polled busily.

Ranges are taken from a list of what is missing, made once from the store's partial blob: what is held is
never asked for again, except what was under way when a link or the process went.

This is the life of transfers.  Which neighbours are asked: `transfer_sources`; how they are asked:
`transfer_asking`; what those that ask are answered: `transfer_answering`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import TypeAlias

from muster.network.blobs import sources as sources
from muster.network.blobs.chunk_messages import (
    BLOB_BYTES_MAX,
    PREFIX_BYTES,
    TOPIC,
    Answer,
    Ask,
    Status,
    prefix,
)
from muster.network.blobs.fetch_queue import FetchQueue
from muster.network.blobs.meter import GRID_BYTES, GoodputMeter
from muster.network.blobs.requesting import ChunkRequester
from muster.network.blobs.serving import ChunkServer
from muster.network.blobs.state import (
    ChunkRequest,
    KnownBlobs,
    Progress,
    Source,
    Transfer,
    TransferLimits,
    TransferStatus,
    loop_time_s,
)
from muster.network.transport.link import Link
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.records import BlobId, NodeId
from muster.storage.store import StorageError, Store

SMALL_BYTES = 32 * 1024  # up to here, pulling from several at once does not pay for asking who could
Hints: TypeAlias = Callable[[BlobId], Sequence[NodeId]]


class Transfers:
    """Fetches and serves blobs. `hints(blob)`: neighbours that the blob's record was learnt from, best first.

    Needs a running loop from `start` on; `close` ends every task.
    """

    def __init__(
        self,
        link: Link,
        store: Store,
        *,
        hints: Hints,
        limits: TransferLimits | None = None,
        traffic: TrafficCounters | None = None,
    ) -> None:
        self._link = link
        self._store = store
        self._hints = hints
        self._limits = limits or TransferLimits()
        self._table: dict[BlobId, Transfer] = {}
        self._known = KnownBlobs(self._limits.known_blobs_max)
        self._traffic = traffic = traffic or TrafficCounters()
        self._asking = ChunkRequester(
            link, self._limits, traffic, self._known, self._table,
            on_answer=self._on_answer, on_whole=self._choose,
        )  # fmt: skip
        self._answering = ChunkServer(
            store, self._limits, traffic, self._known, self._table,
            relay=self._begin_relay, choose=self._choose,
        )  # fmt: skip
        self._turns = FetchQueue()
        self._numbers = itertools.count()
        self._closed = False
        self.wrong_blobs = 0  # whole blobs with the wrong hash so far

    def start(self) -> None:
        self._link.serve(TOPIC, self._answering.serve)
        self._link.listen(TOPIC, self._heard)
        self._link.watch(self._watch)

    async def close(self) -> None:
        self._closed = True
        for transfer in self._table.values():
            self._cancel_timer(transfer)
            transfer.wake()
        await self._asking.close()

    # what the owner asks

    async def fetch(
        self, blob: BlobId, size_bytes: int, *, progress: Progress | None = None, rank: int = 0
    ) -> None:
        """Return when the blob is held; wait for ever through cuts (cancel it to give up).

        Of several fetches the lower rank goes first.  `progress(held, all)` is called as bytes come.
        Raises StorageError when the store cannot keep it, ValueError for an impossible size or one that
        another fetch of the same blob contradicts.
        """
        if not 0 <= size_bytes <= BLOB_BYTES_MAX:
            raise ValueError(f"a blob of {size_bytes} bytes is over the limit of {BLOB_BYTES_MAX}")
        while not self._store.has_blob(blob):
            transfer = self._table.get(blob)
            if transfer is None:
                if self._own_count() >= self._limits.transfers_max:
                    await self._turns.wait(rank, next(self._numbers))
                    continue
                transfer = self._begin(blob, size_bytes, rank)
            elif transfer.size_bytes != size_bytes:
                if transfer.fetchers:
                    raise ValueError(f"this blob is being fetched as one of {transfer.size_bytes} bytes")
                self._end(transfer)  # a neighbour's word against our own record
                continue
            await self._take_part(transfer, rank, progress)

    async def _take_part(self, transfer: Transfer, rank: int, progress: Progress | None) -> None:
        if transfer.fetchers == 0:  # a relay until now: from now on it asks everybody, in its own name
            transfer.rank = rank
            transfer.introduce_again()
        transfer.fetchers += 1
        transfer.rank = min(transfer.rank, rank)
        if progress is not None:
            transfer.progress.append(progress)
            progress(transfer.held_bytes, transfer.size_bytes)
        self._choose(transfer)
        try:
            await asyncio.shield(transfer.done)
        finally:
            transfer.fetchers -= 1
            if progress is not None:
                transfer.progress.remove(progress)
            if transfer.fetchers == 0 and not transfer.done.done():
                transfer.introduce_again()
                if transfer.asked_s is None:
                    self._end(transfer)
            if self._turns and self._own_count() < self._limits.transfers_max:
                self._turns.next()

    def _own_count(self) -> int:
        return sum(1 for transfer in self._table.values() if transfer.fetchers)

    def status(self, blob: BlobId) -> TransferStatus | None:
        """None when this blob is not being transferred."""
        transfer = self._table.get(blob)
        return None if transfer is None else transfer.status()

    def statuses(self) -> list[TransferStatus]:
        ordered = sorted(self._table.values(), key=lambda transfer: transfer.order)
        return [transfer.status() for transfer in ordered]

    def meter(self, node: NodeId) -> GoodputMeter | None:
        """What was measured of a neighbour; None before the first question to it."""
        return self._asking.meter(node)

    def poke(self) -> None:
        """New records arrived, or blobs were stored by other means: look whether that helps."""
        for transfer in list(self._table.values()):
            if self._store.has_blob(transfer.blob):
                self._end(transfer)
                continue
            hints = tuple(self._hints(transfer.blob))
            if hints != transfer.hints:
                for node in set(hints) - set(transfer.hints):
                    sources.wake(transfer, node)
                transfer.hints = hints
                self._choose(transfer)

    # the life of a transfer

    def _begin(
        self, blob: BlobId, size_bytes: int, rank: int, path: frozenset[bytes] = frozenset()
    ) -> Transfer:
        loop = asyncio.get_running_loop()
        partial = self._store.partial(blob, size_bytes)
        transfer = Transfer(blob, size_bytes, rank, next(self._numbers), partial, loop.create_future())
        transfer.path = path
        transfer.refill()
        transfer.hints = tuple(self._hints(blob))
        self._table[blob] = transfer
        if not transfer.todo:
            self._finish(transfer)
        else:
            up = self._link.neighbours()
            first = next((node for node in transfer.hints if node in up), None)  # asked for chunks right away
            if first is None or size_bytes > SMALL_BYTES:
                self._asking.survey(transfer, [node for node in up if node != first])
        return transfer

    def _end(self, transfer: Transfer, error: StorageError | None = None) -> None:
        """Out of the table: it is held, given up or failed."""
        if self._table.get(transfer.blob) is transfer:
            del self._table[transfer.blob]
        self._cancel_timer(transfer)
        transfer.active = ()
        if not transfer.done.done():
            if error is not None and transfer.fetchers:
                transfer.done.set_exception(error)
                transfer.done.exception()  # seen, even if its fetchers are being cancelled
            else:
                transfer.done.set_result(None)
        transfer.wake()
        if error is None and self._store.has_blob(transfer.blob):
            helpers = (node for node, source in transfer.sources.items() if source.introduced)
            transfer.told_not_yet |= dict.fromkeys(n for n in helpers if not transfer.sources[n].whole)
            self._tell(transfer)

    def _finish(self, transfer: Transfer) -> None:
        """All bytes are here: are they the right ones?"""
        if transfer.partial.finish():
            self._end(transfer)
            return
        self.wrong_blobs += 1
        transfer.wrong += 1
        transfer.single = True
        transfer.partial = self._store.partial(transfer.blob, transfer.size_bytes)
        transfer.refill()
        sources.rest_wrong(transfer, loop_time_s(), self._limits)
        self._choose(transfer)

    def _cancel_timer(self, transfer: Transfer) -> None:
        if transfer.timer is not None:
            transfer.timer.cancel()
            transfer.timer = None

    # who to ask

    def _choose(self, transfer: Transfer) -> None:
        """Pick the sources to pull from now, set the timer for the next look, and ask."""
        if self._table.get(transfer.blob) is not transfer or self._closed:
            return
        self._cancel_timer(transfer)
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        own = transfer.fetchers > 0
        if not own and transfer.asked_s is not None:
            heard_s = max(transfer.asked_s, transfer.last_progress_s or 0.0)
            if now_s > heard_s + self._limits.relay_idle_s:
                self._end(transfer)
                return
        choice = sources.choose(transfer, self._link.neighbours(), now_s, self._limits)
        transfer.active, next_s = choice.active, choice.next_s
        if not own and not transfer.active:  # the question who has it, or an answer, may have been lost
            if now_s >= transfer.surveyed_s + self._limits.survey_again_s:
                others = [node for node in choice.candidates if prefix(node) not in transfer.path]
                self._asking.survey(transfer, others)
            next_s = min(next_s, transfer.surveyed_s + self._limits.survey_again_s)
        if not transfer.todo and transfer.flights:
            next_s = min(next_s, now_s + self._limits.again_s)
        transfer.timer = loop.call_at(next_s, self._choose, transfer)
        for node in transfer.active:
            self._asking.pump(node)

    def _watch(self, node: NodeId, up: bool) -> None:
        for transfer in sorted(self._table.values(), key=lambda transfer: transfer.order):
            if up:
                transfer.sources[node] = Source()
                self._asking.survey(transfer, [node])
            self._choose(transfer)

    def _heard(self, node: NodeId, payload: bytes) -> None:
        """A nudge: the neighbour has data of a blob that it did not have when asked."""
        known = self._known.find(payload)
        transfer = self._table.get(known[0]) if known else None
        if transfer is not None:
            sources.wake(transfer, node)
            self._asking.survey(transfer, [node])
            self._choose(transfer)

    # what came

    def _on_answer(
        self, transfer: Transfer, source: Source, asked: ChunkRequest, answer: Answer | None
    ) -> None:
        try:
            self._take_answer(transfer, source, asked, answer)
        except StorageError as error:
            if self._store.has_blob(transfer.blob):
                self._end(transfer)  # it came by other means meanwhile
            else:
                self._end(transfer, error)

    def _take_answer(
        self, transfer: Transfer, source: Source, asked: ChunkRequest, answer: Answer | None
    ) -> None:
        if answer is not None and answer.data:
            kept = self._keep(transfer, source, asked, answer)
        else:
            kept = 0
        if self._table.get(transfer.blob) is not transfer:
            return
        rest = (asked.offset + kept, asked.length - kept)
        if not transfer.partial.has(*rest):
            transfer.todo.appendleft(rest)
        if answer is not None and answer.status is Status.UNKNOWN and source.introduced:
            source.introduced = False
        elif not kept:
            if answer is not None:
                source.introduced = answer.status is not Status.NO
                source.whole = source.whole and source.introduced
            sources.rest(transfer, asked.node, source, loop_time_s(), self._limits)
        if transfer.held_bytes == transfer.size_bytes:
            self._finish(transfer)
        elif not kept or not transfer.todo:
            self._choose(transfer)

    def _keep(self, transfer: Transfer, source: Source, asked: ChunkRequest, answer: Answer) -> int:
        """Write what came; how many bytes of it count."""
        size_bytes = min(len(answer.data), asked.length)
        if asked.offset + size_bytes < transfer.size_bytes:
            size_bytes -= (asked.offset + size_bytes) % GRID_BYTES
        if size_bytes <= 0 or self._table.get(transfer.blob) is not transfer:
            return 0
        source.introduced, source.waiting, source.rest_s = True, False, 0.0
        if answer.status is Status.WHOLE and not source.whole:
            source.whole = True
            self._choose(transfer)
        if transfer.partial.has(asked.offset, size_bytes):
            return size_bytes  # asked for twice
        transfer.keep(asked.offset, answer.data[:size_bytes], asked.node)
        self._tell(transfer)
        return size_bytes

    def _tell(self, transfer: Transfer) -> None:
        """Nudge those that asked in vain."""
        nodes, transfer.told_not_yet = transfer.told_not_yet, {}
        for node in nodes:
            self._traffic.add_exchange(node, PREFIX_BYTES)
            self._link.nudge(node, TOPIC, prefix(transfer.blob))

    # for others

    def _begin_relay(self, blob: BlobId, size_bytes: int, ask: Ask) -> Transfer | None:
        """Get it for a neighbour; None when this node will not."""
        relays = sum(1 for transfer in self._table.values() if not transfer.fetchers)
        if not (self._limits.relay and ask.relay) or relays >= self._limits.relays_max or self._closed:
            return None
        if all(prefix(node) in ask.path for node in self._link.neighbours()):
            return None
        transfer = self._begin(blob, size_bytes, rank=0, path=frozenset(ask.path))
        transfer.asked_s = loop_time_s()
        return transfer
