"""The state of transfers: what is missing of a blob, whom it was asked of, what each source is good for."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from muster.network.blobs.chunk_messages import prefix
from muster.network.blobs.meter import GRID_BYTES, GoodputMeter
from muster.protocol.records import BlobId, NodeId
from muster.storage.store import PartialBlob

Progress: TypeAlias = Callable[[int, int], None]  # bytes held, bytes in all

FIRST_TIMEOUT_S = 3.0
FIRST_RATE_BYTES_S = 300.0  # a quarter of 9.6 kbit/s
TIMEOUT_MAX_S = 300.0
PATIENCE_MAX = 32.0


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


@dataclass
class Source:
    """One neighbour as a source of one blob."""

    whole: bool = False
    introduced: bool = False  # it knows the blob by 8 bytes
    waiting: bool = False  # it had nothing when last asked: one question at a time
    asks: int = 0
    rest_s: float = 0.0  # how long it rests when it next has nothing
    rest_until_s: float = 0.0
    wrong: int = 0  # wholes with the wrong hash that it had a part in


@dataclass(eq=False)
class ChunkRequest:
    """A range that was asked for."""

    node: NodeId
    offset: int
    length: int
    asked_s: float
    repeated: bool = False  # asked of another one, too
    parked: bool = False  # does not count against the neighbour's window (any more)
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class PeerWindow:
    """One neighbour: its window, and how long an answer may take."""

    meter: GoodputMeter = field(default_factory=GoodputMeter)
    outstanding_bytes: int = 0
    asks: int = 0
    patience: float = 1.0  # doubled when an answer did not come (RFC 6298, 5.5), 1 again when one came
    missed_s: float = -math.inf  # when it was last doubled

    def timeout_s(self) -> float:
        """For answers that were lost although the link is up; a lost link is told at once.

        Where a rate is known it is generous.  Where none is, it is the three seconds that RFC 6298 takes
        after a loss and the bytes at a rate that is low even for the narrowest link.
        """
        rate_bytes_s, rtt_s = self.meter.rate_bytes_s, self.meter.rtt_min_s or 0.0
        if rate_bytes_s is None:
            wait_s = FIRST_TIMEOUT_S + 4.0 * rtt_s + self.outstanding_bytes / FIRST_RATE_BYTES_S
        else:
            wait_s = 10.0 + 4.0 * (self.outstanding_bytes / rate_bytes_s + rtt_s)
        return min(self.patience * wait_s, TIMEOUT_MAX_S)

    def missed(self, asked_s: float, now_s: float) -> None:
        """A question of `asked_s` had no answer. Several that were under way together count once."""
        if asked_s >= self.missed_s:
            self.patience, self.missed_s = min(2.0 * self.patience, PATIENCE_MAX), now_s


@dataclass(eq=False)
class Transfer:
    blob: BlobId
    size_bytes: int
    rank: int
    number: int
    partial: PartialBlob
    done: asyncio.Future[None]
    todo: deque[tuple[int, int]] = field(default_factory=deque)
    held_bytes: int = 0
    fetchers: int = 0
    path: frozenset[bytes] = frozenset()  # who waits for us to get it (8 bytes each): not asked by a relay
    asked_s: float | None = None  # by a neighbour, last
    surveyed_s: float = 0.0  # when neighbours were last asked whether they have it
    last_progress_s: float | None = None
    flights: dict[ChunkRequest, None] = field(default_factory=dict)
    sources: dict[NodeId, Source] = field(default_factory=dict)
    hints: tuple[NodeId, ...] = ()
    active: tuple[NodeId, ...] = ()
    contributors: dict[NodeId, None] = field(default_factory=dict)
    single: bool = False  # from one source only, to tell who gives wrong bytes
    wrong: int = 0
    waiters: dict[asyncio.Future[None], None] = field(default_factory=dict)  # questions held open
    told_not_yet: dict[NodeId, None] = field(default_factory=dict)  # to be nudged when there is data
    progress: list[Progress] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    @property
    def order(self) -> tuple[int, int, int]:
        return (0 if self.fetchers else 1, self.rank, self.number)

    def status(self) -> TransferStatus:
        return TransferStatus(
            self.blob,
            self.size_bytes,
            self.held_bytes,
            self.last_progress_s,
            self.active,
            self.fetchers > 0,
            self.wrong,
        )

    def introduce_again(self) -> None:
        """On whose behalf is asked changed: the next question to each source says so."""
        for source in self.sources.values():
            source.introduced = False

    def refill(self) -> None:
        """What is missing and not under way."""
        self.todo = deque(self.partial.missing())
        self._count(self.todo)
        for flight in self.flights:
            self.drop(flight.offset, flight.length)

    def _count(self, missing: Iterable[tuple[int, int]]) -> None:
        self.held_bytes = self.size_bytes - sum(length for _, length in missing)

    def drop(self, offset: int, length: int) -> None:
        """Take a range out of `todo`."""
        left: deque[tuple[int, int]] = deque()
        for start, size in self.todo:
            if start + size <= offset or start >= offset + length:
                left.append((start, size))
                continue
            if start < offset:
                left.append((start, offset - start))
            if start + size > offset + length:
                left.append((offset + length, start + size - offset - length))
        self.todo = left

    def take(self, length: int) -> tuple[int, int]:
        offset, size = self.todo.popleft()
        if size > length:
            self.todo.appendleft((offset + length, size - length))
        return offset, min(size, length)

    def hurry(self, offset: int) -> None:
        """Somebody waits for what is at `offset`: get that, and what follows it, first."""
        for index, (start, size) in enumerate(self.todo):
            if start <= offset < start + size:
                if start == offset and index == 0:
                    return
                del self.todo[index]
                if start < offset:
                    self.todo.insert(index, (start, offset - start))
                self.todo.appendleft((offset, start + size - offset))
                return

    def held_from(self, offset: int, length: int) -> int:
        """How many of `length` bytes from `offset` on are held without a gap, up to a cell's end."""
        end = offset
        while end < offset + length:
            step = min(GRID_BYTES - end % GRID_BYTES, offset + length - end)
            if not self.partial.has(end, step):
                break
            end += step
        return end - offset

    def keep(self, offset: int, data: bytes, node: NodeId) -> None:
        """Write what a neighbour sent, and tell those that wait for it. Raises StorageError."""
        self.partial.write(offset, data)
        self.contributors[node] = None
        self._count(self.partial.missing())  # of a range asked for twice a part may have come before
        self.last_progress_s = loop_time_s()
        for progress in self.progress:
            progress(self.held_bytes, self.size_bytes)
        self.wake()

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class KnownBlobs:
    """Blobs that were named in full lately: questions and nudges name them by 8 bytes."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._known: OrderedDict[bytes, tuple[BlobId, int]] = OrderedDict()

    def remember(self, blob: BlobId, size_bytes: int) -> None:
        key = prefix(blob)
        self._known[key] = (blob, size_bytes)
        self._known.move_to_end(key)
        while len(self._known) > self._count_max:
            self._known.popitem(last=False)

    def find(self, name: bytes) -> tuple[BlobId, int] | None:
        """The whole id and the size; `name` is the id's first 8 bytes."""
        return self._known.get(name)


def loop_time_s() -> float:
    return asyncio.get_running_loop().time()
