"""Prints a node's events and what its libraries log, in the form and from the level that were asked for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from muster.network.supervisor import Pulse
from muster.node.api.snapshot import NodeEvent
from muster.node.event_log import EventLog
from muster.node.log.journal import Journal, leads_to_journal
from muster.node.log.lines import LEVELS, Level, LogLine, as_json, as_text, level_of
from muster.node.log.rate_limit import RateLimit

Form = Literal["auto", "text", "json"]


@dataclass(frozen=True)
class LogOptions:
    """How the node was asked to log. "auto": to the journal if systemd started the node so, else text."""

    form: Form = "auto"
    level: Level = "info"  # and what is graver


class Printer:
    """Reads the event log as a task of its own; `limit` leaves out what repeats itself."""

    def __init__(
        self,
        log: EventLog,
        write: Callable[[LogLine], None],
        level: Level = "info",
        limit: RateLimit | None = None,
    ) -> None:
        self._log, self._write = log, write
        self._levels = LEVELS[LEVELS.index(level) :]
        self._limit = limit or RateLimit()
        self._printed = 0  # the last event that was

    async def run(self, pulse: Pulse) -> None:
        """Until cancelled."""
        pulse.renew(None)
        loop = asyncio.get_running_loop()
        while True:
            news = self._log.news
            self._take()
            next_s = self._limit.next_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_s):
                    await news.wait()
            for due in self._limit.due(loop.time()):
                self._write(due)

    def add(self, line: LogLine) -> None:
        """Print a line, if its level is asked for and it does not repeat itself."""
        if line.level in self._levels:
            for due in self._limit.admit(line, asyncio.get_running_loop().time()):
                self._write(due)

    def close(self) -> None:
        """Print what is left: the last events, and what was left out."""
        self._take()
        for due in self._limit.end():
            self._write(due)

    def _take(self) -> None:
        for event in self._log.since(self._printed):
            self._printed = event.number
            self.add(line_of(event))


def line_of(event: NodeEvent) -> LogLine:
    """An event as a line of the log."""
    return LogLine(event.time_s, level_of(event.kind), event.kind, event.text, event.job, event.node)


def writer(form: Form, node: str, environment: Mapping[str, str]) -> Callable[[LogLine], None]:
    """What writes lines in this form, on standard output or to the journal."""
    if form == "auto" and leads_to_journal(sys.stdout.fileno(), environment):
        return Journal(node).write

    def write(line: LogLine) -> None:
        with contextlib.suppress(OSError, ValueError):  # its disk may be full; the node goes on
            print(as_json(line, node) if form == "json" else as_text(line), flush=True)

    return write


class Libraries(logging.Handler):
    """Takes what libraries log (asyncio, the page's server) into the same log, from any thread."""

    def __init__(self, add: Callable[[LogLine], None]) -> None:
        super().__init__(logging.WARNING)
        self._add, self._loop = add, asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        level: Level = "error" if record.levelno >= logging.ERROR else "warning"
        trace = logging.Formatter().formatException(record.exc_info) if record.exc_info else ""
        line = LogLine(record.created, level, record.name, record.getMessage(), trace=trace)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody prints any more
            self._loop.call_soon_threadsafe(self._add, line)
