"""The shell of bulk transfers: it turns messages, neighbours and timers into events, and carries out effects.

What is asked of whom is decided in `fetch.fetching`, what others are answered in `serving`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable
from functools import partial
from typing import Any

from muster.network.blobs.chunk_messages import (
    BLOB_BYTES_MAX,
    HEAD_BYTES,
    PREFIX_BYTES,
    TOPIC,
    Ask,
    KnownBlobs,
    Status,
    WrongQuestion,
    decode_ask,
    encode_answer,
    encode_ask,
    prefix,
)
from muster.network.blobs.effects import (
    BytesCame,
    CheckBlob,
    Effect,
    FetchEnded,
    LookAgain,
    Moment,
    SendRequest,
    SendSurvey,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch, ChunkRequest, TransferStatus
from muster.network.blobs.fetch.fetching import Fetching, Hints, Ours
from muster.network.blobs.fetch.queue import FetchQueue
from muster.network.blobs.limits import TransferLimits
from muster.network.blobs.meter import GoodputMeter
from muster.network.blobs.requester import ChunkRequester
from muster.network.blobs.serving import Serving, Wanted
from muster.network.blobs.waiters import Progress, Waiters, WaiterTable
from muster.network.supervisor import Supervisor
from muster.network.transport.link import Link, Refused, Urgency
from muster.network.transport.offences import REFUSAL, Offences
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.ids import BlobId, NodeId
from muster.storage.offload import Offload, inline
from muster.storage.store import StorageError, Store

SURVEY_TIMEOUT_S = 30.0
FAULT_RETRY_S = 5.0  # after a fault of its own


class Transfers:
    """Fetches and serves blobs. `hints(blob)`: neighbours that its record was learnt from, best first.
    `ours(blob)`: whether this node's own work waits for it to pass; the disk limit does not hold that up."""

    def __init__(
        self, link: Link, store: Store, *, hints: Hints, limits: TransferLimits | None = None,
        traffic: TrafficCounters | None = None, supervisor: Supervisor | None = None,
        offences: Offences | None = None, offload: Offload = inline, ours: Ours = lambda blob: False,
    ) -> None:  # fmt: skip
        self._link = link
        self._store, self._offload = store, offload
        self._limits = limits = limits or TransferLimits()
        self._traffic = traffic or TrafficCounters()
        known = KnownBlobs(limits.known_blobs_max)
        self._fetching = Fetching(link.node, store, hints, limits, known, ours)
        self._serving = Serving(store, limits, known)
        self._offences = offences or Offences()
        self._requester = ChunkRequester(link, self._traffic, self._offences)
        self._supervisor = supervisor or Supervisor()
        self._queue = FetchQueue()
        self._numbers = itertools.count()  # of those in the queue
        self._waiters: WaiterTable[BlobFetch] = WaiterTable()
        self._overdue: dict[ChunkRequest, asyncio.TimerHandle] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._closed = False

    def start(self) -> None:
        self._link.serve(TOPIC, self._serve)
        self._link.listen(TOPIC, self._nudged)
        self._link.watch(self._watch)

    async def close(self) -> None:
        self._closed = True
        self._fetching.close()
        self._waiters.wake_all()
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
            fetch = self._fetching.table.find(blob)
            if fetch is None:
                if self._fetching.table.own_count() >= self._limits.transfers_max:
                    await self._queue.wait(rank, next(self._numbers))
                    continue
                fetch, effects = self._fetching.begin(blob, size_bytes, rank, self._moment())
                waiters = self._waiters.of(fetch)
                self._carry_out(effects)
            elif fetch.size_bytes != size_bytes:
                if fetch.own:
                    raise ValueError(f"this blob is being fetched as one of {fetch.size_bytes} bytes")
                self._carry_out(self._fetching.drop(fetch))  # what a neighbour said against our own record
                continue
            else:
                waiters = self._waiters.of(fetch)
            await self._join(fetch, waiters, rank, progress)

    async def _join(self, fetch: BlobFetch, waiters: Waiters, rank: int, progress: Progress | None) -> None:
        if progress is not None:
            waiters.progress.append(progress)
            progress(fetch.held_bytes, fetch.size_bytes)
        self._carry_out(self._fetching.join(fetch, rank, self._moment()))
        try:
            await asyncio.shield(waiters.done)
        finally:
            if progress is not None:
                waiters.progress.remove(progress)
            self._carry_out(self._fetching.leave(fetch))
            if self._queue and self._fetching.table.own_count() < self._limits.transfers_max:
                self._queue.next()

    def status(self, blob: BlobId) -> TransferStatus | None:
        """None when this blob is not being transferred."""
        fetch = self._fetching.table.find(blob)
        return None if fetch is None else fetch.status()

    def passed_on(self, blob: BlobId) -> bool:
        """Whether a neighbour was given the end of a blob, lately."""
        return self._serving.passed_on(blob)

    def statuses(self) -> list[TransferStatus]:
        return [fetch.status() for fetch in self._fetching.table.all()]

    def meter(self, node: NodeId) -> GoodputMeter | None:
        """What was measured of a neighbour; None before the first request to it."""
        return self._fetching.meter(node)

    @property
    def wrong_blobs(self) -> int:
        """Whole blobs with the wrong hash so far."""
        return self._fetching.wrong_blobs

    def poke(self) -> None:
        """New records arrived, or blobs were stored by other means: look whether that helps."""
        self._carry_out(self._fetching.on_news(self._moment()))

    # events of the link

    def _watch(self, node: NodeId, up: bool) -> None:
        self._carry_out(self._fetching.on_neighbour(node, up, self._moment()))

    def _nudged(self, node: NodeId, name: bytes) -> None:
        self._carry_out(self._fetching.on_nudge(node, name, self._moment()))

    async def _serve(self, asker: NodeId, payload: bytes) -> bytes:
        if self._offences.cut(asker):
            raise Refused(REFUSAL)
        try:
            ask = decode_ask(payload)
            answer = await self._answer(asker, ask)
        except WrongQuestion as error:
            self._offences.add(asker, str(error))
            raise Refused(str(error)) from error
        except StorageError as error:
            raise Refused(str(error)) from error
        if size_bytes := len(answer) - HEAD_BYTES:
            self._traffic.add_chunk(asker, prefix(ask.id), ask.offset, size_bytes)
        self._traffic.add_exchange(asker, HEAD_BYTES)
        return answer

    async def _answer(self, asker: NodeId, ask: Ask) -> bytes:
        """At once, or when bytes that are being fetched have come."""
        asked_s = _loop_time_s()
        found = self._serving.on_ask(ask, self._fetching.table)
        if not isinstance(found, Wanted):
            return found
        fetch, effects = self._fetching.on_wanted(found.blob, found.size_bytes, ask, self._moment())
        if fetch is not None:
            waiters = self._waiters.of(fetch)
        self._carry_out(effects)
        if fetch is None:
            return encode_answer(Status.NO)
        while True:
            goes_on = self._fetching.table.goes_on(fetch)
            answer = self._serving.answer(asker, fetch, ask, asked_s, _loop_time_s(), goes_on=goes_on)
            if answer is not None:
                return answer
            self._serving.hold_open(asker)
            try:
                await waiters.more(self._serving.until_s(asked_s))
            finally:
                self._serving.release(asker)

    # effects

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendRequest(fetch, request, overdue_s):
                    self._spawn(self._request(fetch, request), partial(self._ask_again, fetch, request))
                    if overdue_s is not None:
                        loop = asyncio.get_running_loop()
                        self._overdue[request] = loop.call_later(overdue_s, self._call_overdue, request)
                case SendSurvey(fetch, node):
                    self._spawn(self._survey(fetch, node))
                case LookAgain(fetch, at_s):
                    self._waiters.of(fetch).call_at(at_s, partial(self._look_again, fetch))
                case BytesCame(fetch):
                    self._bytes_came(fetch)
                case CheckBlob(fetch):
                    self._spawn(self._check(fetch), partial(self._unchecked, fetch))
                case FetchEnded():
                    self._ended(effect)

    def _look_again(self, fetch: BlobFetch) -> None:
        """The time for a look has come; one that fails is made again."""
        try:
            self._carry_out(self._fetching.on_time(fetch, self._moment()))
        except Exception as error:
            self._supervisor.fault("fetching a blob", error)
            self._look_later(fetch)

    def _call_overdue(self, request: ChunkRequest) -> None:
        self._carry_out(self._fetching.on_overdue(request, self._moment()))

    def _bytes_came(self, fetch: BlobFetch) -> None:
        waiters = self._waiters.of(fetch)
        for progress in waiters.progress:
            progress(fetch.held_bytes, fetch.size_bytes)
        waiters.wake()
        self._nudge(fetch, self._serving.take_waiting_peers(fetch))

    def _ended(self, end: FetchEnded) -> None:
        waiters = self._waiters.pop(end.fetch)
        if waiters is not None:
            waiters.end(end.error)
        in_vain = self._serving.take_waiting_peers(end.fetch)
        if end.held:
            self._nudge(end.fetch, in_vain | dict.fromkeys(end.nudge))

    def _nudge(self, fetch: BlobFetch, nodes: Iterable[NodeId]) -> None:
        """Tell those that asked in vain that there is data."""
        for node in nodes:
            self._traffic.add_exchange(node, PREFIX_BYTES)
            self._link.nudge(node, TOPIC, prefix(fetch.blob))

    # requests, each a task

    async def _request(self, fetch: BlobFetch, request: ChunkRequest) -> None:
        message, timeout_s = self._fetching.on_sent(fetch, request, _loop_time_s())
        try:
            answer = await self._requester.ask(request.node, message, timeout_s=timeout_s)
        finally:
            timer = self._overdue.pop(request, None)
            if timer is not None:
                timer.cancel()
        if answer is not None:
            self._traffic.took_chunk(prefix(fetch.blob), len(answer.data))
        self._carry_out(self._fetching.on_answer(fetch, request, answer, self._moment()))

    def _ask_again(self, fetch: BlobFetch, request: ChunkRequest) -> None:
        """A request ended by a fault: what it asked for is asked for again, of others perhaps."""
        fetch.take_back(request, _loop_time_s())
        if self._fetching.table.goes_on(fetch):
            self._look_later(fetch)

    def _look_later(self, fetch: BlobFetch) -> None:
        look = partial(self._look_again, fetch)
        self._waiters.of(fetch).call_at(_loop_time_s() + FAULT_RETRY_S, look)

    async def _survey(self, fetch: BlobFetch, node: NodeId) -> None:
        message, asked_s = encode_ask(Ask(fetch.blob, 0, 0, fetch.size_bytes)), _loop_time_s()
        answer = await self._requester.ask(node, message, timeout_s=SURVEY_TIMEOUT_S, urgency=Urgency.CONTROL)
        if answer is not None:
            moment = self._moment()
            self._carry_out(self._fetching.on_survey_answer(fetch, node, answer.status, asked_s, moment))

    async def _check(self, fetch: BlobFetch) -> None:
        right: bool | StorageError
        try:
            right = await self._offload(fetch.partial.check)
        except StorageError as error:
            right = error
        self._carry_out(self._fetching.on_checked(fetch, right, self._moment()))

    def _unchecked(self, fetch: BlobFetch) -> None:
        error = StorageError("the bytes that came could not be checked: they are fetched again")
        self._carry_out(self._fetching.on_checked(fetch, error, self._moment()))

    # parts

    def _spawn(self, work: Coroutine[Any, Any, None], on_fault: Callable[[], None] = lambda: None) -> None:
        if self._closed:
            work.close()
            return
        task = self._supervisor.once("asking for chunks", work, on_fault=on_fault)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def _moment(self) -> Moment:
        return Moment(_loop_time_s(), self._link.neighbours())


def _loop_time_s() -> float:
    return asyncio.get_running_loop().time()
