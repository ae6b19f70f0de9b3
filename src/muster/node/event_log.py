"""Keeps the node's newest events, numbered, for whoever watches it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from muster.node.api.snapshot import NodeEvent

EVENTS_MAX = 2000


@dataclass
class EventLog:
    """Dates events by `wall_clock`; the newest `EVENTS_MAX` are kept."""

    wall_clock: Callable[[], float]
    local_time: Callable[[float], time.struct_time] = time.localtime
    events: deque[NodeEvent] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))
    last: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)  # set at the next event, and then replaced

    def add(self, kind: str, text: str, *, job: bytes = b"", node: str = "") -> None:
        """Log an event and wake those that wait for `news`."""
        self.last += 1
        self.events.append(NodeEvent(self.last, self.wall_clock(), kind, text, job.hex(), node))
        news, self.news = self.news, asyncio.Event()
        news.set()

    def clock_time(self, in_s: float) -> str:
        """What the clock on the wall will show in so many seconds."""
        return time.strftime("%H:%M:%S", self.local_time(self.wall_clock() + in_s))

    def since(self, number: int) -> list[NodeEvent]:
        """The kept events after event `number`."""
        return [e for e in self.events if e.number > number]
