"""How fast the link to one neighbour is, and how long to wait for an answer over it.

Only requests that are made anyway are measured.  A request takes a round trip and its bytes divided by the
rate.  Small requests show the round trip; what larger ones take beyond it shows the rate.  That is enough to
tell 10 kbit/s from a megabit.  `blobs.meter` knows better once a blob was moved.
"""

from __future__ import annotations

from collections import deque

NARROW_BYTES_S = 8000.0  # 64 kbit/s: below it heartbeats are rare
_SMALL_BYTES = 250
_LARGE_BYTES = 700
_MEASURABLE_S = 0.03  # less than this beyond the round trip says nothing
_SAMPLES = 8
_SAMPLES_MIN = 2
TIMEOUT_MAX_S = 30.0
_TIMEOUT_MIN_S = 3.0  # what RFC 6298 (5.7) takes after a loss
_UNKNOWN_RATE_BYTES_S = 300.0  # assumed while the rate is not known: a quarter of 9.6 kbit/s


class LinkSpeed:
    """Estimates for one neighbour. Nothing here reads a clock."""

    def __init__(self) -> None:
        self.rtt_s: float | None = None  # the shortest of a small request
        self._rates: deque[float] = deque(maxlen=_SAMPLES)
        self._elapsed_s: deque[float] = deque(maxlen=_SAMPLES)
        self._timeout_factor = 1.0  # doubled when an answer did not come (RFC 6298, 5.5), reset by one

    def add_sample(self, size_bytes: int, elapsed_s: float) -> None:
        """A request and its answer of `size_bytes` in all took `elapsed_s`."""
        if size_bytes <= _SMALL_BYTES or self.rtt_s is None:
            self.rtt_s = elapsed_s if self.rtt_s is None else min(self.rtt_s, elapsed_s)
        if size_bytes >= _LARGE_BYTES:
            beyond_s = elapsed_s - self.rtt_s
            self._rates.append(size_bytes / max(_MEASURABLE_S / 10, beyond_s))
        self._elapsed_s.append(elapsed_s)
        self._timeout_factor = 1.0

    def add_timeout(self) -> None:
        """A request had no answer in time."""
        self._timeout_factor *= 2.0

    def timeout_s(self, size_bytes: int) -> float:
        """How long to wait for a request and its answer of about `size_bytes` in all, on a link that is up
        and may lose either: by what such requests took lately, and the longest while nothing is known."""
        if not self._elapsed_s:
            return TIMEOUT_MAX_S
        rate_bytes_s = self.rate_bytes_s() or _UNKNOWN_RATE_BYTES_S
        wait_s = _TIMEOUT_MIN_S + 4.0 * (max(self._elapsed_s) + size_bytes / rate_bytes_s)
        return min(TIMEOUT_MAX_S, self._timeout_factor * wait_s)

    def rate_bytes_s(self) -> float | None:
        """The best that was seen lately; None while too little is known."""
        return max(self._rates) if len(self._rates) >= _SAMPLES_MIN else None

    def narrow(self) -> bool:
        rate = self.rate_bytes_s()
        return rate is not None and rate < NARROW_BYTES_S
