"""Lets the same sentence through a few times a minute, and counts the others.

Of errors and warnings, sentences that differ in numbers only are the same one: a fault that comes with every
round or every record is one fault.  Of what else happens each sentence is itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from muster.node.log.lines import LogLine

LIMIT = 10  # so often in a period
PERIOD_S = 60.0
SENTENCES_MAX = 1000  # that are watched; beyond it the oldest one is forgotten
_NUMBERS = re.compile(r"\b(?:[0-9a-f]*\d[0-9a-f]*|[0-9a-f]{8,})\b|\d+")


@dataclass
class _Seen:
    """One sentence in its current period."""

    began_s: float
    times: int = 0
    held: LogLine | None = None  # the last one that was left out


class RateLimit:
    """Times are of any clock that only goes forward."""

    def __init__(self, limit: int = LIMIT, period_s: float = PERIOD_S) -> None:
        self._limit, self._period_s = limit, period_s
        self._seen: dict[tuple[str, str], _Seen] = {}  # oldest period first

    def admit(self, line: LogLine, now_s: float) -> list[LogLine]:
        """What is to be printed now: what is due of sentences left out, and `line` if it may be."""
        lines = self.due(now_s)
        key = _key(line)
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= SENTENCES_MAX:
                lines += self._end(next(iter(self._seen)))
            seen = self._seen[key] = _Seen(now_s)
        seen.times += 1
        if seen.times > self._limit:
            seen.held = line
            return lines
        return [*lines, line]

    def due(self, now_s: float) -> list[LogLine]:
        """For each sentence whose period is over how many were left out, if any were."""
        over = [key for key, seen in self._seen.items() if now_s >= seen.began_s + self._period_s]
        return [line for key in over for line in self._end(key)]

    def next_s(self) -> float | None:
        """When `due` has something to say again; None: nothing is left out."""
        began = [seen.began_s for seen in self._seen.values() if seen.held is not None]
        return min(began) + self._period_s if began else None

    def end(self) -> list[LogLine]:
        """All that `due` would say sooner or later."""
        return [line for key in list(self._seen) for line in self._end(key)]

    def _end(self, key: tuple[str, str]) -> list[LogLine]:
        seen = self._seen.pop(key)
        if seen.held is None:
            return []
        more = seen.times - self._limit
        return [replace(seen.held, text=f"... and {more} more like it, the last: {seen.held.text}")]


def _key(line: LogLine) -> tuple[str, str]:
    return line.part, line.text if line.level == "info" else _NUMBERS.sub("#", line.text)
