"""What a link to one neighbour was measured to do, and how much to ask for at a time.

The rate is measured as in BBR (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue
2016, delivery-rate samples): bytes that arrived between two deliveries, divided by the time between them,
each sample spanning about one window.  A sample that could not have shown the link's rate (too little was
asked for, or the neighbour itself had to wait for the data) may raise the estimate, never lower it.

Outstanding is about one second of that rate: enough to fill the link, little enough for control to pass,
because priority cannot reach bytes that already are in a kernel's or radio's queue.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WINDOW_S = 1.0
WINDOW_BYTES_MIN = 2 * 4096
WINDOW_BYTES_MAX = 768 * 1024
GRID_BYTES = 4096
CHUNK_BYTES_MAX = 16 * 1024
FAST_CHUNK_BYTES = 32 * 1024  # from FAST_BYTES_S on: half the requests, still under 0.1 s of the link
FAST_BYTES_S = 400_000.0

_RISE, _FALL = 0.5, 0.2  # weight of a new sample above / below the estimate
_EARLY_SAMPLES = 8  # while these few are all that is known, a higher one is believed at once


@dataclass(frozen=True)
class WindowSize:
    """Ask for `count` chunks of `chunk_bytes` at a time."""

    chunk_bytes: int
    count: int

    @property
    def size_bytes(self) -> int:
        return self.chunk_bytes * self.count


def window_size(rate_bytes_s: float | None, rtt_min_s: float | None, *, early: bool = False) -> WindowSize:
    """The window for a measured rate; the smallest when nothing is known.

    `early`: the estimate is young and was held down by the window itself; grow in a few round trips.

    >>> [(w.count, w.chunk_bytes // 1024) for w in (window_size(k * 125.0, 0.1) for k in (64, 256, 1000))]
    [(2, 4), (2, 16), (8, 16)]
    """
    if rate_bytes_s is None:
        return WindowSize(GRID_BYTES, 2)
    second_bytes = min(max(rate_bytes_s * WINDOW_S, WINDOW_BYTES_MIN), WINDOW_BYTES_MAX)
    chunk_bytes = min(max(1, round(second_bytes / 2 / GRID_BYTES)) * GRID_BYTES, CHUNK_BYTES_MAX)
    if rate_bytes_s >= FAST_BYTES_S:
        chunk_bytes = FAST_CHUNK_BYTES
    # A chunk comes as a whole, so what keeps the link busy is a round trip's worth and one chunk: more than
    # a second where answers take long (satellites, two radios in a row).
    rtt_bytes = (3.0 if early else 1.25) * rate_bytes_s * (rtt_min_s or 0.0) + chunk_bytes
    outstanding_bytes = min(max(second_bytes, rtt_bytes), WINDOW_BYTES_MAX)
    # rounded up rather than down: a window that falls short lowers the measured rate, and so the next window
    return WindowSize(chunk_bytes, max(2, math.ceil(outstanding_bytes / chunk_bytes - 0.2)))


@dataclass(frozen=True)
class Mark:
    """The state of things when a request went out; give it back with the answer."""

    asked_s: float
    delivered_bytes: int
    delivered_s: float
    limited: bool


class GoodputMeter:
    """Estimates for one neighbour. Times are any one clock's; nothing here reads a clock."""

    def __init__(self) -> None:
        self.rtt_s: float | None = None  # smoothed (RFC 6298, weight 1/8)
        self.rtt_min_s: float | None = None
        self.rate_bytes_s: float | None = None
        self.samples = 0
        self.received_bytes = 0
        self._delivered_s = 0.0
        self._outstanding = 0

    def window_size(self) -> WindowSize:
        return window_size(self.rate_bytes_s, self.rtt_min_s, early=self.samples < _EARLY_SAMPLES)

    def pinged(self, rtt_s: float) -> None:
        """A small request was answered after `rtt_s`."""
        assert rtt_s >= 0
        self.rtt_s = rtt_s if self.rtt_s is None else self.rtt_s + (rtt_s - self.rtt_s) / 8
        self.rtt_min_s = rtt_s if self.rtt_min_s is None else min(self.rtt_min_s, rtt_s)

    def asked(self, now_s: float, *, limited: bool) -> Mark:
        """A chunk was asked for; `limited`: less than the window is outstanding for want of work."""
        if self._outstanding == 0:
            self._delivered_s = now_s
        self._outstanding += 1
        return Mark(now_s, self.received_bytes, self._delivered_s, limited)

    def lost(self) -> None:
        """What was asked for will not come."""
        assert self._outstanding > 0
        self._outstanding -= 1

    def answered(self, mark: Mark, now_s: float, size_bytes: int, held_s: float = 0.0) -> None:
        """`size_bytes` came; the neighbour says that it waited `held_s` for the data itself."""
        assert self._outstanding > 0
        self._outstanding -= 1
        self.received_bytes += size_bytes
        elapsed_s = now_s - mark.delivered_s
        self._delivered_s = now_s
        answer_s = max(0.0, now_s - mark.asked_s - held_s)
        self.rtt_min_s = answer_s if self.rtt_min_s is None else min(self.rtt_min_s, answer_s)
        if size_bytes == 0 or elapsed_s <= 0:
            return
        self._take(
            (self.received_bytes - mark.delivered_bytes) / elapsed_s, limited=mark.limited or held_s > 0.05
        )

    def _take(self, rate_bytes_s: float, *, limited: bool) -> None:
        known = self.rate_bytes_s
        if known is None:
            self.rate_bytes_s = rate_bytes_s
        elif rate_bytes_s > known:
            weight = 1.0 if self.samples < _EARLY_SAMPLES else _RISE
            self.rate_bytes_s = known + weight * (rate_bytes_s - known)
        elif limited:
            return
        else:
            weight = 0.0 if self.samples < _EARLY_SAMPLES else _FALL
            self.rate_bytes_s = known + weight * (rate_bytes_s - known)
        self.samples += 1
