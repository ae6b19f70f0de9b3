"""How many jobs a node asks for by itself in a day, and how many bytes it sends and receives in them.

The owner's day, and a count that is kept ahead of the true one: as `owner/allowance.py` has them.
"""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from muster.job.owner.allowance import AHEAD, Clock, moment, size_text
from muster.job.owner.day import DayUse, ends_in_s, looked, resumed
from muster.storage.store import StorageError, Store

_KEY = "asked"


@dataclass(frozen=True)
class AskLimits:
    """What this node may ask for by itself in a day."""

    jobs: int = 4  # 0: none
    bytes: int = 100_000_000  # that it sends and receives in them


class AskedToday(msgspec.Struct, frozen=True, array_like=True):
    """The count of a day."""

    use: DayUse
    jobs: int = 0


class AskBudget:
    """One node's count of the day."""

    def __init__(self, limits: AskLimits, store: Store, clock: Clock) -> None:
        self.limits, self._store, self._clock = limits, store, clock
        self._measured_s = clock.measured()
        now = moment(clock)
        self._today = AskedToday(DayUse(now.day, now.wall_s))
        kept = store.state(_KEY)
        if kept is not None:
            with contextlib.suppress(msgspec.MsgspecError):  # of another version
                before = msgspec.msgpack.decode(kept, type=AskedToday)
                self._today = _on(before, resumed(before.use, now))
        self._kept_bytes = self._today.use.bytes

    def why_not(self) -> str | None:
        """Why this node asks for no job by itself now, and from when on it does again; None: it may."""
        today, limits = self._look(), self.limits
        if limits.jobs == 0:
            return "this node's policy is never to ask for a job by itself"
        if today.jobs >= limits.jobs:
            return f"this node has asked for its {limits.jobs} jobs of today; again from {self._again()}"
        if today.use.bytes >= limits.bytes:
            size = size_text(limits.bytes)
            return f"the jobs that this node asked for took its {size} of today; again from {self._again()}"
        return None

    def bytes_left(self) -> int:
        """What jobs that it asks for may take yet today."""
        return max(0, self.limits.bytes - self._look().use.bytes)

    def asked(self) -> None:
        """It is about to ask for one. Raises StorageError: what is not counted is not asked for."""
        today = self._look()
        self._write(replace(today, jobs=today.jobs + 1))

    def add_bytes(self, count: int) -> None:
        """So many were sent or received in a job that this node asked for by itself."""
        today = self._look()
        use = replace(today.use, bytes=today.use.bytes + count)
        self._today = today = replace(today, use=use)
        if use.bytes > self._kept_bytes:
            ahead = use.bytes + math.ceil(AHEAD * self.limits.bytes)
            with contextlib.suppress(StorageError):  # a full disk: the process goes on counting
                self._write(replace(today, use=replace(use, bytes=ahead)), today)

    def keep(self) -> None:
        """Keep the true count, at the end of the process."""
        today = self._look()
        if today.jobs or today.use.bytes:
            with contextlib.suppress(StorageError):
                self._write(today)

    def _look(self) -> AskedToday:
        """The count now; a new one when a day has begun."""
        measured_s = self._clock.measured()
        use = looked(self._today.use, moment(self._clock), measured_s - self._measured_s)
        self._measured_s = measured_s
        if (today := _on(self._today, use)).jobs < self._today.jobs or use.bytes < self._today.use.bytes:
            self._kept_bytes = use.bytes
        self._today = today
        return today

    def _write(self, kept: AskedToday, true: AskedToday | None = None) -> None:
        self._store.set_state(_KEY, msgspec.msgpack.encode(kept))
        self._kept_bytes, self._today = kept.use.bytes, true or kept

    def _again(self) -> str:
        now = moment(self._clock)
        again_s = math.ceil(now.wall_s + ends_in_s(self._today.use, now))
        return time.strftime("%H:%M", self._clock.local(again_s))


def _on(before: AskedToday, use: DayUse) -> AskedToday:
    """The count with its day as it is now; none of it is left where another day began."""
    another = use.day != before.use.day or use.ran_s < before.use.ran_s
    return AskedToday(use, 0 if another else before.jobs)
