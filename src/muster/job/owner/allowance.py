"""What a node's owner lets others use today: counts it, keeps the count, and says when nothing is left.

The count that is kept is ahead of the true one by up to a hundredth of the day's limit: a node that is killed
again and again gives no more than its limit, and nothing is written for each byte.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import msgspec
from msgspec.structs import replace

from muster.job.owner.day import DAY_S, DayUse, Moment, ends_in_s, looked, resumed
from muster.job.owner.hours import Span, open_for_s, opens_in_s, time_of
from muster.protocol.ids import JobId
from muster.storage.store import StorageError, Store

AHEAD = 0.01  # of a limit, by which the kept count is ahead
NOTED_S = 600.0  # between two notes of how long this day's count goes on
BOOTING_S = 600.0  # in which the machine's clock may be put right
LOOK_S = 60.0  # at the latest; a clock may be set at any time
_KEY = "given"


@dataclass(frozen=True)
class OwnerLimits:
    """What others may take of a node; what it does for its own jobs is not limited."""

    bytes_per_day: int | None = None
    joules_per_day: float | None = None
    hours: tuple[Span, ...] = ()  # none: always
    cpu_share: float = 1.0  # that the trainer computes with
    metered: bool = False  # bytes cost money: none without need


@dataclass(frozen=True)
class Left:
    """What others may use yet, as offers say it; None: no limit."""

    bytes: int | None = None
    joules: float | None = None
    available_s: float | None = None

    def half_of(self, offered: Left) -> bool:
        """Whether less than half of what was offered is left."""
        pairs = ((self.bytes, offered.bytes), (self.joules, offered.joules))
        return any(now is not None and then is not None and 2 * now < then for now, then in pairs)


@dataclass(frozen=True)
class Clock:
    """`wall()`: seconds since 1970; `local(wall)`: that as the owner reads it; `measured()`: seconds since
    the machine's start that nobody sets, time asleep included."""

    wall: Callable[[], float]
    local: Callable[[float], time.struct_time]
    measured: Callable[[], float]


class Allowance:
    """One node's count of the day."""

    def __init__(self, limits: OwnerLimits, store: Store, clock: Clock) -> None:
        self.limits, self._store, self._clock = limits, store, clock
        self.counts = limits.bytes_per_day is not None or limits.joules_per_day is not None
        self._measured_s = clock.measured()
        self._said: dict[str, str] = {}  # by what is used up: the sentence, the same until it is over
        self._round: tuple[JobId, int, float] = b"", 0, 0.0  # the job, and the count at its last update
        self._round_cost = 0, 0.0
        now = self._now()
        self._use = DayUse(now.day, now.wall_s)
        if self.counts:
            kept = store.state(_KEY)
            if kept is not None:
                with contextlib.suppress(msgspec.MsgspecError):  # of another version
                    self._use = resumed(msgspec.msgpack.decode(kept, type=DayUse), now)
        self._kept = self._use
        self._noted_s = self._measured_s

    def add_bytes(self, count: int) -> None:
        """So many were sent or received for others' jobs."""
        if self.counts:
            self._add(count, 0.0)

    def add_joules(self, joules: float) -> None:
        """So many were used for others' jobs."""
        if self.counts:
            self._add(0, joules)

    def round_done(self, job: JobId) -> None:
        """An update for others was made: what came since the one before is what a round costs. (The first one
        of a job cost the whole model, too.)"""
        use = self._look()
        before, bytes_, joules = self._round
        same = before == job and use.bytes >= bytes_ and use.joules >= joules
        self._round_cost = (use.bytes - bytes_, use.joules - joules) if same else (0, 0.0)
        self._round = job, use.bytes, use.joules

    def left(self) -> Left:
        """What others may use yet of this day."""
        use, limits = self._look(), self.limits
        open_s = open_for_s(limits.hours, self._now().second)
        return Left(
            None if limits.bytes_per_day is None else max(0, limits.bytes_per_day - use.bytes),
            None if limits.joules_per_day is None else max(0.0, limits.joules_per_day - use.joules),
            None if math.isinf(open_s) else open_s,
        )

    def why_not(self) -> str | None:
        """Why nothing is done for others now, and from when on it is again; None: something is."""
        left = self.left()
        cost_bytes, cost_j = self._round_cost
        if left.available_s == 0.0:
            return self._sentence("hours")
        if left.bytes is not None and left.bytes <= cost_bytes:
            return self._sentence("bytes")
        if left.joules is not None and left.joules <= cost_j:
            return self._sentence("joules")
        self._said.clear()
        return None

    @property
    def closed(self) -> bool:
        """Whether this is no hour for others: work that is not done yet stops."""
        return self.left().available_s == 0.0

    @property
    def bytes_given(self) -> bool:
        """Whether no byte of this day is left for others."""
        return self.left().bytes == 0

    def look_again_s(self) -> float:
        """Seconds after which `why_not` may say something else although nothing happens."""
        second = self._now().second
        turn_s = open_for_s(self.limits.hours, second) or opens_in_s(self.limits.hours, second)
        return min(LOOK_S, max(1.0, turn_s))

    def keep(self) -> None:
        """Keep the true count, at the end of the process."""
        if self.counts:
            self._write(self._look())

    def _add(self, bytes_: int, joules: float) -> None:
        use = self._look()
        self._use = use = replace(use, bytes=use.bytes + bytes_, joules=use.joules + joules)
        if use.bytes > self._kept.bytes or use.joules > self._kept.joules:
            ahead_bytes = math.ceil(AHEAD * (self.limits.bytes_per_day or 0))
            ahead_j = AHEAD * (self.limits.joules_per_day or 0.0)
            self._write(replace(use, bytes=use.bytes + ahead_bytes, joules=use.joules + ahead_j))

    def _look(self) -> DayUse:
        """The count now; a new one when a day has begun."""
        if not self.counts:
            return self._use
        measured_s, before = self._clock.measured(), self._use
        self._use = use = looked(before, self._now(), measured_s - self._measured_s)
        self._measured_s = measured_s
        if use.ran_s < before.ran_s or use.day != before.day:
            self._said.clear()
            self._round = b"", 0, 0.0
            self._round_cost = 0, 0.0
            self._write(use)
        elif measured_s >= self._noted_s + NOTED_S:
            self._noted_s = measured_s
            ahead = self._kept
            bytes_, joules = max(use.bytes, ahead.bytes), max(use.joules, ahead.joules)
            self._write(replace(use, bytes=bytes_, joules=joules))
        return use

    def _write(self, use: DayUse) -> None:
        self._kept = use
        with contextlib.suppress(StorageError):  # a full disk: the process goes on counting
            self._store.set_state(_KEY, msgspec.msgpack.encode(use))

    def _sentence(self, what: str) -> str:
        if what not in self._said:
            self._said[what] = self._make_sentence(what)
        return self._said[what]

    def _make_sentence(self, what: str) -> str:
        limits = self.limits
        if what == "hours":
            again = time_of((self._now().second + opens_in_s(limits.hours, self._now().second)) % DAY_S)
            spans = " and ".join(map(str, limits.hours))
            return f"it works for others from {spans} only; again from {again}"
        now = self._now()
        again_s = now.wall_s + ends_in_s(self._use, now)
        again = time.strftime("%H:%M", self._clock.local(math.ceil(again_s)))
        by_bytes = what == "bytes"
        day = size_text(limits.bytes_per_day or 0) if by_bytes else f"{limits.joules_per_day:.4g} J"
        left = self.left()
        if (left.bytes if by_bytes else left.joules) == 0:
            return f"it has given its {day} of today; again from {again}"
        return f"what is left of its {day} of today is too little for a round; again from {again}"

    def _now(self) -> Moment:
        return moment(self._clock)


def moment(clock: Clock) -> Moment:
    """What a node's clock on the wall says now."""
    wall_s = clock.wall()
    local = clock.local(wall_s)
    day = date(local.tm_year, local.tm_mon, local.tm_mday).toordinal()
    second = 3600 * local.tm_hour + 60 * local.tm_min + min(59, local.tm_sec) + wall_s % 1.0
    return Moment(day, second, wall_s, clock.measured() < BOOTING_S)


def size_text(count: int) -> str:
    """Bytes for a sentence."""
    unit, factor = next(((u, f) for u, f in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= f), ("B", 1))
    return f"{count / factor:.4g} {unit}"
