"""The state of transfers: what is missing of a blob, whom it was asked of, what each source is good for."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from muster.network.meter import GRID_BYTES, Meter
from muster.records import BlobId, NodeId
from muster.storage.store import PartialBlob

Progress: TypeAlias = Callable[[int, int], None]  # bytes held, bytes in all

FIRST_TIMEOUT_S = 3.0
FIRST_RATE_BYTES_S = 300.0  # a quarter of 9.6 kbit/s
TIMEOUT_MAX_S = 300.0
PATIENCE_MAX = 32.0


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
class Flight:
    """A range that was asked for."""

    node: NodeId
    offset: int
    length: int
    asked_s: float
    repeated: bool = False  # asked of another one, too
    parked: bool = False  # does not count against the neighbour's window (any more)
    timer: asyncio.TimerHandle | None = None


@dataclass(eq=False)
class Lane:
    """One neighbour: its window, and how long an answer may take."""

    meter: Meter = field(default_factory=Meter)
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
    flights: dict[Flight, None] = field(default_factory=dict)
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

    def introduce_again(self) -> None:
        """On whose behalf is asked changed: the next question to each source says so."""
        for source in self.sources.values():
            source.introduced = False

    def refill(self) -> None:
        """What is missing and not under way."""
        self.todo = deque(self.partial.missing())
        self.held_bytes = self.size_bytes - sum(length for _, length in self.todo)
        for flight in self.flights:
            self.drop(flight.offset, flight.length)

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

    def wake(self) -> None:
        waiters, self.waiters = self.waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
