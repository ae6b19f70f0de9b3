"""Notices when this process itself stood still: suspended, or on a machine that was busy with other things.

Meanwhile nobody was heard, and that is no fault of theirs: what came waits in queues.  Seconds that were lost
so are no age of others (`presence`), and nothing is decided for a moment, so that the queues are read first.
"""

from __future__ import annotations

from collections.abc import Callable

TICK_S = 2.0  # between two ticks
STALL_MIN_S = 2.0  # more than that late, and the process stood still
SETTLE_S = 2.0  # after a stall, to read what came meanwhile


class Attention:
    """One process's own stalls. `now` is the loop's clock; without ticks there are none."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ticked_s: float | None = None
        self._settled_s = 0.0  # loop time
        self.total_s = 0.0  # lost since the start

    def tick(self) -> None:
        """Call every `TICK_S`, after `lost_s` was asked."""
        self._ticked_s = self._now()

    def lost_s(self) -> float:
        """Seconds that were lost since this was asked last; 0 as a rule."""
        now_s = self._now()
        if self._ticked_s is None or now_s - self._ticked_s <= TICK_S + STALL_MIN_S:
            return 0.0
        lost_s = now_s - self._ticked_s - TICK_S
        self._ticked_s = now_s
        self.total_s += lost_s
        self._settled_s = now_s + SETTLE_S
        return lost_s

    def settling_s(self) -> float:
        """Seconds for which nothing should be decided yet."""
        return max(0.0, self._settled_s - self._now())
