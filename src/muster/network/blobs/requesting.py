"""Asking neighbours for chunks: a window of outstanding bytes each, so a slow one holds up nobody."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from muster.network.blobs.chunk_messages import (
    HOPS_MAX,
    TOPIC,
    Answer,
    Ask,
    Status,
    decode_answer,
    encode_ask,
    encode_short_ask,
    prefix,
)
from muster.network.blobs.meter import GoodputMeter
from muster.network.blobs.state import (
    ChunkRequest,
    KnownBlobs,
    PeerWindow,
    Source,
    Transfer,
    TransferLimits,
    loop_time_s,
)
from muster.network.transport.link import Link, Refused, Unreachable, Urgency
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.records import BlobId, NodeId

UNKNOWN_RATE_BYTES_S = 4000.0  # assumed of a neighbour that has not sent anything yet
SOUND_ASKS = 2  # questions to a source before it is known to have anything
OnAnswer: TypeAlias = Callable[[Transfer, Source, ChunkRequest, Answer | None], None]


class ChunkRequester:
    """Has its questions under way as tasks; `close` ends them."""

    def __init__(
        self,
        link: Link,
        limits: TransferLimits,
        traffic: TrafficCounters,
        known: KnownBlobs,
        table: Mapping[BlobId, Transfer],
        *,
        on_answer: OnAnswer,
        on_whole: Callable[[Transfer], None],
    ) -> None:
        """`on_answer`: a range was answered, or not (None); `on_whole`: another source has all of it."""
        self._link, self._limits, self._traffic = link, limits, traffic
        self._known, self._table = known, table
        self._on_answer, self._on_whole = on_answer, on_whole
        self._lanes: OrderedDict[NodeId, PeerWindow] = OrderedDict()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def meter(self, node: NodeId) -> GoodputMeter | None:
        """What was measured of a neighbour; None before the first question to it."""
        lane = self._lanes.get(node)
        return None if lane is None else lane.meter

    def survey(self, transfer: Transfer, nodes: Sequence[NodeId]) -> None:
        """Ask neighbours whether they have all of it, so that it can be pulled from several at once."""
        transfer.surveyed_s = loop_time_s()
        for node in nodes[: self._limits.neighbours_max]:
            self._spawn(self._ask_who_has(transfer, node))

    async def _ask_who_has(self, transfer: Transfer, node: NodeId) -> None:
        ask = encode_ask(Ask(transfer.blob, 0, 0, transfer.size_bytes))
        asked_s = loop_time_s()
        self._traffic.add_exchange(node, len(ask))
        try:
            answer = decode_answer(await self._link.ask(node, TOPIC, ask, timeout_s=30.0))
        except (Unreachable, Refused, ValueError):
            return
        self._lane(node).meter.pinged(loop_time_s() - asked_s)
        source = transfer.sources.setdefault(node, Source())
        source.introduced = True
        if answer.status is Status.WHOLE:
            source.whole = True
            self._on_whole(transfer)

    def pump(self, node: NodeId) -> None:
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
                self._spawn_ask(lane, transfer, source, ChunkRequest(node, offset, length, loop_time_s()))

    def _late(self, transfer: Transfer, node: NodeId) -> ChunkRequest | None:
        """A range that another source has been owing for long, when nothing else is left to ask."""
        before_s = loop_time_s() - self._limits.again_s
        for flight in transfer.flights:
            if flight.node != node and not flight.repeated and flight.asked_s <= before_s:
                return flight
        return None

    def _spawn_ask(self, lane: PeerWindow, transfer: Transfer, source: Source, flight: ChunkRequest) -> None:
        lane.asks += 1
        lane.outstanding_bytes += flight.length
        source.asks += 1
        transfer.flights[flight] = None
        self._spawn(self._ask(lane, transfer, source, flight))
        if not source.whole:
            loop = asyncio.get_running_loop()
            flight.timer = loop.call_later(self._usual_s(lane), self._park, lane, flight)

    def _park(self, lane: PeerWindow, flight: ChunkRequest) -> None:
        """The neighbour holds this question open until it has the data: others may go meanwhile."""
        if not flight.parked and not self._closed:
            flight.parked = True
            lane.asks -= 1
            lane.outstanding_bytes -= flight.length
            self.pump(flight.node)

    def _usual_s(self, lane: PeerWindow) -> float:
        """By when an answer that only had to travel is here, all but surely."""
        rate_bytes_s = lane.meter.rate_bytes_s or UNKNOWN_RATE_BYTES_S
        return 0.5 + 2.0 * (lane.outstanding_bytes / rate_bytes_s + (lane.meter.rtt_min_s or 0.5))

    async def _ask(self, lane: PeerWindow, transfer: Transfer, source: Source, flight: ChunkRequest) -> None:
        payload = encode_short_ask(transfer.blob, flight.offset, flight.length)
        if not source.introduced:
            payload = encode_ask(self._full_ask(transfer, flight))
        self._known.remember(transfer.blob, transfer.size_bytes)
        limited = lane.outstanding_bytes < lane.meter.window().size_bytes
        mark = lane.meter.asked(loop_time_s(), limited=limited)
        answer: Answer | None = None
        try:
            self._traffic.add_exchange(flight.node, len(payload))
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
            lane.missed(flight.asked_s, loop_time_s())
        else:
            lane.patience = 1.0
            lane.meter.answered(mark, loop_time_s(), len(answer.data), answer.held_s)
        self._on_answer(transfer, source, flight, answer)
        self.pump(flight.node)

    def _full_ask(self, transfer: Transfer, flight: ChunkRequest) -> Ask:
        path = (prefix(self._link.node), *(() if transfer.fetchers else sorted(transfer.path)))
        # a neighbour that may not ask any further is still asked for what it has
        relay = len(path) <= HOPS_MAX
        return Ask(transfer.blob, flight.offset, flight.length, transfer.size_bytes, relay, path[:HOPS_MAX])

    def _timeout_s(self, lane: PeerWindow, source: Source) -> float:
        return lane.timeout_s() + (0.0 if source.whole else self._limits.hold_s)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._closed:
            work.close()
            return
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def _lane(self, node: NodeId) -> PeerWindow:
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes[node] = PeerWindow()
            while len(self._lanes) > self._limits.neighbours_max:
                idle = next((n for n, each in self._lanes.items() if each.asks == 0 and n != node), None)
                if idle is None:
                    break
                del self._lanes[idle]
        return lane
