"""One line of a node's log: its level, and what it looks like as text and as JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("info", "warning", "error")
PRIORITIES: dict[Level, int] = {"info": 6, "warning": 4, "error": 3}  # of syslog
_OF_KIND: dict[str, Level] = {"error": "error", "wait": "warning", "peer": "warning"}


@dataclass(frozen=True)
class LogLine:
    """What happened. `part` is an event's kind, or the name of the logger of a library."""

    time_s: float  # wall clock
    level: Level
    part: str
    text: str
    job: str = ""  # hex
    about: str = ""  # name of the node that it is about
    trace: str = ""  # of a fault


def level_of(kind: str) -> Level:
    """The level of an event: what a person should do is an error, what nothing moves for is a warning."""
    return _OF_KIND.get(kind, "info")


def as_text(line: LogLine, local_time: Callable[[float], time.struct_time] = time.localtime) -> str:
    """The time of day and the sentence, for a terminal."""
    return f"{time.strftime('%H:%M:%S', local_time(line.time_s))} {with_trace(line)}"


def as_json(line: LogLine, node: str) -> str:
    """One JSON object; keys without a value are left out."""
    always = {
        "time": iso(line.time_s),
        "level": line.level,
        "part": line.part,
        "text": line.text,
        "node": node,
    }
    more = {"about": line.about, "job": line.job, "trace": line.trace}
    return json.dumps(always | {key: value for key, value in more.items() if value}, ensure_ascii=False)


def with_trace(line: LogLine) -> str:
    """The sentence, and the trace of a fault below it."""
    return f"{line.text}\n{line.trace}" if line.trace else line.text


def iso(time_s: float) -> str:
    """ISO 8601 in UTC, in milliseconds."""
    whole_ms = int(time_s * 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole_ms // 1000))}.{whole_ms % 1000:03d}Z"
