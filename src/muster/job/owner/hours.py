"""The spans of a day in which a node works for others, by its own local time: pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

DAY_S = 86_400
SPANS_MAX = 16
_SPAN = re.compile(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)")


@dataclass(frozen=True)
class Span:
    """From one second of the day to another; over midnight if that is not later."""

    begin_s: int
    end_s: int

    @property
    def length_s(self) -> int:
        return (self.end_s - self.begin_s) % DAY_S or DAY_S

    def left_s(self, second: float) -> float:
        """Seconds until it ends; 0 outside."""
        gone_s = (second - self.begin_s) % DAY_S
        return self.length_s - gone_s if gone_s < self.length_s else 0.0

    def __str__(self) -> str:
        return f"{time_of(self.begin_s)} to {time_of(self.end_s)}"


def parse(given: str | Sequence[str]) -> tuple[Span, ...]:
    """ "22:00-06:00", or several such spans: as a list, or with commas between.

    Raises ValueError, with a sentence.
    """
    spans = []
    parts = ",".join([given] if isinstance(given, str) else given).split(",")
    if len(parts) > SPANS_MAX:
        raise ValueError(f"{len(parts)} spans are over the limit of {SPANS_MAX}")
    for part in parts:
        found = _SPAN.fullmatch(part.strip())
        hour, minute, end_hour, end_minute = map(int, found.groups()) if found else (99, 0, 99, 0)
        begin_s, end_s = 3600 * hour + 60 * minute, 3600 * end_hour + 60 * end_minute
        if minute > 59 or end_minute > 59 or begin_s >= DAY_S or end_s > DAY_S:
            raise ValueError(f'{part.strip()!r} is no span of a day: write "22:00-06:00"')
        if begin_s == end_s:
            raise ValueError(f"{part.strip()!r} ends when it begins: the whole day is 00:00-24:00")
        spans.append(Span(begin_s, end_s))
    return tuple(spans)


def open_for_s(spans: Sequence[Span], second: float) -> float:
    """Seconds from a second of the day until no span holds any more: 0 outside of them, infinite for none at
    all or spans that cover the day."""
    if not spans:
        return math.inf
    open_s = 0.0
    while (more_s := max(span.left_s((second + open_s) % DAY_S) for span in spans)) > 0:
        open_s += more_s
        if open_s >= DAY_S:
            return math.inf
    return open_s


def opens_in_s(spans: Sequence[Span], second: float) -> float:
    """Seconds until one of the spans begins; 0 inside of one."""
    if open_for_s(spans, second) > 0:
        return 0.0
    return min((span.begin_s - second) % DAY_S for span in spans)


def time_of(second: float) -> str:
    """A second of the day as people write it: 22:00."""
    return f"{int(second) // 3600:02}:{int(second) % 3600 // 60:02}"
