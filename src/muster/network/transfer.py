"""Bulk: blobs pulled in chunks over links that come and go, hop by hop (design sections 2.3 and 6).

Each neighbour has one window of outstanding chunks, so a slow one never holds up a fast one; each blob has
one transfer, whoever wants it.  A transfer pulls from every neighbour that has the whole blob; while nobody
in reach has, from one neighbour at a time that gets it for us and hands chunks on as they arrive, so that a
blob crosses a narrow link once however many want it behind.  A source that has nothing (more) rests for a
growing while; news (`poke`, a neighbour that appears, a nudge) ends the rest, so nothing is polled busily.

Ranges are taken from a list of what is missing, made once from the store's partial blob: what is held is
never asked for again, except what was under way when a link or the process went.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from muster.network.chunk_wire import (
    ANSWER_BYTES_MAX,
    BLOB_BYTES_MAX,
    HEAD_BYTES,
    HOPS_MAX,
    PREFIX_BYTES,
    TOPIC,
    Answer,
    Ask,
    Status,
    decode_answer,
    decode_ask,
    encode_answer,
    encode_ask,
    encode_short_ask,
    prefix,
)
from muster.network.link import Link, Refused, Unreachable, Urgency
from muster.network.meter import GRID_BYTES, Meter
from muster.network.tally import Tally
from muster.network.transfer_state import Flight, Lane, Progress, Source, Transfer
from muster.records import BlobId, NodeId
from muster.storage.store import StorageError, Store

SMALL_BYTES = 32 * 1024  # up to here, pulling from several at once does not pay for asking who could
UNKNOWN_RATE_BYTES_S = 4000.0  # assumed of a neighbour that has not sent anything yet
SOUND_ASKS = 2  # questions to a source before it is known to have anything
Hints: TypeAlias = Callable[[BlobId], Sequence[NodeId]]


@dataclass(frozen=True)
class TransferLimits:
    transfers_max: int = 256  # one's own; a further fetch waits for its turn
    relays_max: int = 64  # got for others only; a further question is answered "no"
    relay: bool = True
    relay_idle_s: float = 120.0  # a relay that nobody asks about for so long is given up (its data stay)
    sources_max: int = 4  # neighbours that one blob is pulled from at once
    held_asks_max: int = 256
    held_asks_neighbour_max: int = 32  # half of what the link serves at once: control must not wait for bulk
    hold_s: float = 8.0  # how long a question waits for data on its way here; a lost one is missed later
    rest_min_s: float = 1.0
    rest_max_s: float = 60.0
    rest_hinted_s: float = 8.0  # at most, of a neighbour from whom the blob's record was learnt
    survey_again_s: float = 20.0  # between two rounds of asking, for a neighbour, who has a blob
    again_s: float = 3.0  # a last chunk that is so late is asked of an idle source too
    neighbours_max: int = 256
    known_blobs_max: int = 1024


@dataclass(frozen=True)
class TransferStatus:
    blob: BlobId
    size_bytes: int
    held_bytes: int
    last_progress_s: float | None  # loop time; None = nothing came since this transfer began
    sources: tuple[NodeId, ...]  # being pulled from now
    own: bool  # wanted here; else got for a neighbour only
    wrong: int  # times that the whole had the wrong hash


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
        tally: Tally | None = None,
    ) -> None:
        self._link = link
        self._store = store
        self._hints = hints
        self._limits = limits or TransferLimits()
        self._tally = tally or Tally()
        self._table: dict[BlobId, Transfer] = {}
        self._lanes: OrderedDict[NodeId, Lane] = OrderedDict()
        self._known: OrderedDict[bytes, tuple[BlobId, int]] = OrderedDict()
        self._held: dict[NodeId, int] = {}  # questions held open
        self._queue: list[tuple[int, int, asyncio.Future[None]]] = []  # fetches that wait for their turn
        self._numbers = itertools.count()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._closed = False
        self.wrong_blobs = 0  # whole blobs with the wrong hash so far

    def start(self) -> None:
        self._link.serve(TOPIC, self._serve)
        self._link.listen(TOPIC, self._heard)
        self._link.watch(self._watch)

    async def close(self) -> None:
        self._closed = True
        for transfer in self._table.values():
            self._cancel_timer(transfer)
            transfer.wake()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

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
                    await self._turn(rank)
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
            self._next_turn()

    def _own_count(self) -> int:
        return sum(1 for transfer in self._table.values() if transfer.fetchers)

    async def _turn(self, rank: int) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (rank, next(self._numbers), future)
        self._queue.append(entry)
        try:
            await future
        finally:
            if entry in self._queue:
                self._queue.remove(entry)

    def _next_turn(self) -> None:
        if self._queue and self._own_count() < self._limits.transfers_max:
            entry = min(self._queue, key=lambda entry: entry[:2])
            self._queue.remove(entry)
            if not entry[2].done():
                entry[2].set_result(None)

    def status(self, blob: BlobId) -> TransferStatus | None:
        """None when this blob is not being transferred."""
        transfer = self._table.get(blob)
        if transfer is None:
            return None
        return TransferStatus(
            blob,
            transfer.size_bytes,
            transfer.held_bytes,
            transfer.last_progress_s,
            transfer.active,
            transfer.fetchers > 0,
            transfer.wrong,
        )

    def statuses(self) -> list[TransferStatus]:
        ordered = sorted(self._table.values(), key=lambda transfer: transfer.order)
        found = (self.status(transfer.blob) for transfer in ordered)
        return [status for status in found if status is not None]

    def meter(self, node: NodeId) -> Meter | None:
        """What was measured of a neighbour; None before the first question to it."""
        lane = self._lanes.get(node)
        return None if lane is None else lane.meter

    def poke(self) -> None:
        """New records arrived, or blobs were stored by other means: look whether that helps."""
        for transfer in list(self._table.values()):
            if self._store.has_blob(transfer.blob):
                self._end(transfer)
                continue
            hints = tuple(self._hints(transfer.blob))
            if hints != transfer.hints:
                for node in set(hints) - set(transfer.hints):
                    self._wake_source(transfer, node)
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
                self._survey(transfer, [node for node in up if node != first])
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
        # not for ever: what a relay gave may have been wrong before it came there
        for node in transfer.contributors:
            source = transfer.sources.setdefault(node, Source())
            source.wrong += 1
            rest_s = min(self._limits.rest_min_s * 2.0**source.wrong, self._limits.rest_max_s)
            source.rest_until_s = self._now() + rest_s
        transfer.contributors.clear()
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
        up = self._link.neighbours()
        own = transfer.fetchers > 0
        if not own and transfer.asked_s is not None:
            heard_s = max(transfer.asked_s, transfer.last_progress_s or 0.0)
            if now_s > heard_s + self._limits.relay_idle_s:
                self._end(transfer)
                return
        candidates = [node for node in dict.fromkeys((*transfer.hints, *up)) if node in up]
        wholes, helpers, next_s = [], [], now_s + self._limits.rest_max_s
        for node in candidates:
            source = transfer.sources.setdefault(node, Source())
            if source.rest_until_s > now_s:
                next_s = min(next_s, source.rest_until_s)
            elif source.whole:
                wholes.append(node)
            elif own or (node in transfer.hints and prefix(node) not in transfer.path):
                helpers.append(node)
        if transfer.single:
            wholes.sort(key=lambda node: transfer.sources[node].wrong)
            helpers.sort(key=lambda node: transfer.sources[node].wrong)
        count = 1 if transfer.single else self._limits.sources_max
        transfer.active = tuple(wholes[:count] if wholes else helpers[:1])
        if not own and not transfer.active:  # the question who has it, or an answer, may have been lost
            if now_s >= transfer.surveyed_s + self._limits.survey_again_s:
                self._survey(transfer, [n for n in candidates if prefix(n) not in transfer.path])
            next_s = min(next_s, transfer.surveyed_s + self._limits.survey_again_s)
        if not transfer.todo and transfer.flights:
            next_s = min(next_s, now_s + self._limits.again_s)
        transfer.timer = loop.call_at(next_s, self._choose, transfer)
        for node in transfer.active:
            self._pump(node)

    def _rest(self, transfer: Transfer, node: NodeId, source: Source) -> None:
        source.waiting = True
        if source.rest_until_s > self._now():  # of several questions in vain the first counts
            return
        limits = self._limits
        # Whoever passed the record on has the blob or gets it soon, and its nudge may be lost.
        longest_s = limits.rest_hinted_s if node in transfer.hints else limits.rest_max_s
        source.rest_s = min(max(limits.rest_min_s, source.rest_s * 2), longest_s)
        source.rest_until_s = self._now() + source.rest_s

    def _wake_source(self, transfer: Transfer, node: NodeId) -> None:
        source = transfer.sources.setdefault(node, Source())
        if not source.wrong:
            source.rest_s = source.rest_until_s = 0.0

    def _watch(self, node: NodeId, up: bool) -> None:
        for transfer in sorted(self._table.values(), key=lambda transfer: transfer.order):
            if up:
                transfer.sources[node] = Source()
                self._survey(transfer, [node])
            self._choose(transfer)

    def _heard(self, node: NodeId, payload: bytes) -> None:
        """A nudge: the neighbour has data of a blob that it did not have when asked."""
        known = self._known.get(payload)
        transfer = self._table.get(known[0]) if known else None
        if transfer is not None:
            self._wake_source(transfer, node)
            self._survey(transfer, [node])
            self._choose(transfer)

    def _survey(self, transfer: Transfer, nodes: Sequence[NodeId]) -> None:
        """Ask neighbours whether they have all of it, so that it can be pulled from several at once."""
        transfer.surveyed_s = self._now()
        for node in nodes[: self._limits.neighbours_max]:
            self._spawn(self._ask_who_has(transfer, node))

    async def _ask_who_has(self, transfer: Transfer, node: NodeId) -> None:
        ask = encode_ask(Ask(transfer.blob, 0, 0, transfer.size_bytes))
        asked_s = asyncio.get_running_loop().time()
        try:
            answer = decode_answer(await self._link.ask(node, TOPIC, ask, timeout_s=30.0))
        except (Unreachable, Refused, ValueError):
            return
        self._lane(node).meter.pinged(asyncio.get_running_loop().time() - asked_s)
        source = transfer.sources.setdefault(node, Source())
        source.introduced = True
        if answer.status is Status.WHOLE:
            source.whole = True
            self._choose(transfer)

    # asking

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def _lane(self, node: NodeId) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes[node] = Lane()
            while len(self._lanes) > self._limits.neighbours_max:
                idle = next((n for n, each in self._lanes.items() if each.asks == 0 and n != node), None)
                if idle is None:
                    break
                del self._lanes[idle]
        return lane

    def _pump(self, node: NodeId) -> None:
        """Ask this neighbour for more, as far as its window allows, lowest rank first."""
        lane = self._lane(node)
        mine = sorted((t for t in self._table.values() if node in t.active), key=lambda t: t.order)
        for transfer in mine:
            source = transfer.sources[node]
            while True:
                window = lane.meter.window()
                room_bytes = window.size_bytes - lane.outstanding_bytes
                if room_bytes < window.chunk_bytes and lane.asks:
                    return
                if source.asks and (source.waiting or (not source.introduced and source.asks >= SOUND_ASKS)):
                    break  # that is enough to find out whether it has something
                if transfer.todo:
                    offset, length = transfer.take(window.chunk_bytes)
                else:
                    late = self._late(transfer, node)
                    if late is None:
                        break
                    late.repeated = True
                    offset, length = late.offset, late.length
                self._spawn_ask(lane, transfer, source, Flight(node, offset, length, self._now()))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _late(self, transfer: Transfer, node: NodeId) -> Flight | None:
        """A range that another source has been owing for long, when nothing else is left to ask."""
        before_s = self._now() - self._limits.again_s
        for flight in transfer.flights:
            if flight.node != node and not flight.repeated and flight.asked_s <= before_s:
                return flight
        return None

    def _spawn_ask(self, lane: Lane, transfer: Transfer, source: Source, flight: Flight) -> None:
        lane.asks += 1
        lane.outstanding_bytes += flight.length
        source.asks += 1
        transfer.flights[flight] = None
        self._spawn(self._ask(lane, transfer, source, flight))
        if not source.whole:
            loop = asyncio.get_running_loop()
            flight.timer = loop.call_later(self._usual_s(lane), self._park, lane, flight)

    def _park(self, lane: Lane, flight: Flight) -> None:
        """The neighbour holds this question open until it has the data: others may go meanwhile."""
        if not flight.parked and not self._closed:
            flight.parked = True
            lane.asks -= 1
            lane.outstanding_bytes -= flight.length
            self._pump(flight.node)

    def _usual_s(self, lane: Lane) -> float:
        """By when an answer that only had to travel is here, all but surely."""
        rate_bytes_s = lane.meter.rate_bytes_s or UNKNOWN_RATE_BYTES_S
        return 0.5 + 2.0 * (lane.outstanding_bytes / rate_bytes_s + (lane.meter.rtt_min_s or 0.5))

    async def _ask(self, lane: Lane, transfer: Transfer, source: Source, flight: Flight) -> None:
        payload = encode_short_ask(transfer.blob, flight.offset, flight.length)
        if not source.introduced:
            payload = encode_ask(self._full_ask(transfer, flight))
        self._remember(transfer.blob, transfer.size_bytes)
        limited = lane.outstanding_bytes < lane.meter.window().size_bytes
        mark = lane.meter.asked(self._now(), limited=limited)
        answer: Answer | None = None
        try:
            self._tally.told(flight.node, len(payload))
            wire = await self._link.ask(
                flight.node, TOPIC, payload, timeout_s=self._timeout_s(lane, source), urgency=Urgency.BULK
            )
            answer = decode_answer(wire)
        except (Unreachable, Refused, ValueError):
            pass
        finally:
            if flight.timer is not None:
                flight.timer.cancel()
            if not flight.parked:
                flight.parked = True
                lane.asks -= 1
                lane.outstanding_bytes -= flight.length
            source.asks -= 1
            transfer.flights.pop(flight, None)
            if answer is None:
                lane.meter.lost()
        if answer is None:
            lane.missed(flight.asked_s, self._now())
        else:
            lane.patience = 1.0
            lane.meter.answered(mark, self._now(), len(answer.data), answer.held_s)
        try:
            self._take_answer(transfer, source, flight, answer)
        except StorageError as error:
            if self._store.has_blob(transfer.blob):
                self._end(transfer)  # it came by other means meanwhile
            else:
                self._end(transfer, error)
        self._pump(flight.node)

    def _full_ask(self, transfer: Transfer, flight: Flight) -> Ask:
        path = (prefix(self._link.node), *(() if transfer.fetchers else sorted(transfer.path)))
        # a neighbour that may not ask any further is still asked for what it has
        relay = len(path) <= HOPS_MAX
        return Ask(transfer.blob, flight.offset, flight.length, transfer.size_bytes, relay, path[:HOPS_MAX])

    def _timeout_s(self, lane: Lane, source: Source) -> float:
        return lane.timeout_s() + (0.0 if source.whole else self._limits.hold_s)

    def _take_answer(self, transfer: Transfer, source: Source, flight: Flight, answer: Answer | None) -> None:
        if answer is not None and answer.data:
            kept = self._keep(transfer, source, flight, answer)
        else:
            kept = 0
        if self._table.get(transfer.blob) is not transfer:
            return
        rest = (flight.offset + kept, flight.length - kept)
        if not transfer.partial.has(*rest):
            transfer.todo.appendleft(rest)
        if answer is not None and answer.status is Status.UNKNOWN and source.introduced:
            source.introduced = False
        elif not kept:
            if answer is not None:
                source.introduced = answer.status is not Status.NO
                source.whole = source.whole and source.introduced
            self._rest(transfer, flight.node, source)
        if transfer.held_bytes == transfer.size_bytes:
            self._finish(transfer)
        elif not kept or not transfer.todo:
            self._choose(transfer)

    def _keep(self, transfer: Transfer, source: Source, flight: Flight, answer: Answer) -> int:
        """Write what came; how many bytes of it count."""
        size_bytes = min(len(answer.data), flight.length)
        if flight.offset + size_bytes < transfer.size_bytes:
            size_bytes -= (flight.offset + size_bytes) % GRID_BYTES
        if size_bytes <= 0 or self._table.get(transfer.blob) is not transfer:
            return 0
        source.introduced, source.waiting, source.rest_s = True, False, 0.0
        if answer.status is Status.WHOLE and not source.whole:
            source.whole = True
            self._choose(transfer)
        if transfer.partial.has(flight.offset, size_bytes):
            return size_bytes  # asked for twice
        transfer.partial.write(flight.offset, answer.data[:size_bytes])
        transfer.contributors[flight.node] = None
        transfer.held_bytes += size_bytes
        transfer.last_progress_s = self._now()
        for progress in transfer.progress:
            progress(transfer.held_bytes, transfer.size_bytes)
        transfer.wake()
        self._tell(transfer)
        return size_bytes

    def _tell(self, transfer: Transfer) -> None:
        """Nudge those that asked in vain."""
        nodes, transfer.told_not_yet = transfer.told_not_yet, {}
        for node in nodes:
            self._link.nudge(node, TOPIC, prefix(transfer.blob))

    # answering

    def _remember(self, blob: BlobId, size_bytes: int) -> None:
        key = prefix(blob)
        self._known[key] = (blob, size_bytes)
        self._known.move_to_end(key)
        while len(self._known) > self._limits.known_blobs_max:
            self._known.popitem(last=False)

    async def _serve(self, asker: NodeId, payload: bytes) -> bytes:
        try:
            ask = decode_ask(payload)
        except ValueError as error:
            raise Refused(str(error)) from error
        answer = await self._answered(asker, ask)
        size_bytes = len(answer) - HEAD_BYTES
        if size_bytes:
            self._tally.chunk(asker, prefix(ask.id), ask.offset, size_bytes)
        self._tally.told(asker, HEAD_BYTES)
        return answer

    async def _answered(self, asker: NodeId, ask: Ask) -> bytes:
        if len(ask.id) == 32:
            self._remember(ask.id, ask.size_bytes)
        known = self._known.get(prefix(ask.id))
        if known is None:
            return encode_answer(Status.UNKNOWN)
        blob, size_bytes = known
        asked_s = self._now()
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
                transfer = self._begin_relay(blob, size_bytes, ask)
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

    def _begin_relay(self, blob: BlobId, size_bytes: int, ask: Ask) -> Transfer | None:
        """Get it for a neighbour; None when this node will not."""
        relays = sum(1 for transfer in self._table.values() if not transfer.fetchers)
        if not (self._limits.relay and ask.relay) or relays >= self._limits.relays_max or self._closed:
            return None
        if all(prefix(node) in ask.path for node in self._link.neighbours()):
            return None
        transfer = self._begin(blob, size_bytes, rank=0, path=frozenset(ask.path))
        transfer.asked_s = self._now()
        return transfer

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
            held_s = self._now() - asked_s
            answer = self._answer_held(transfer.blob, transfer.size_bytes, ask, held_s)
            if answer is not None:
                return answer
            ready_bytes = transfer.held_from(ask.offset, length)
            if ready_bytes:
                return encode_answer(Status.PARTIAL, transfer.partial.read(ask.offset, ready_bytes), held_s)
            mine = self._held.get(asker, 0)
            full = mine >= limits.held_asks_neighbour_max or sum(self._held.values()) >= limits.held_asks_max
            if full or self._now() >= deadline_s or self._table.get(transfer.blob) is not transfer:
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
