"""How fast a link to a neighbour is, from the questions that are asked anyway; and what follows from it.

The time of a question is a round trip and the bytes over the rate.  Small questions show the round trip, what
larger ones take beyond it shows the rate: enough to tell 10 kbit/s from a megabit, which is all that is
wanted here.  The meter of bulk transfers (`meter`) knows better once a blob was moved.
"""

from __future__ import annotations

from collections import deque

NARROW_BYTES_S = 8000.0  # 64 kbit/s: below it links are spared words
_SMALL_BYTES = 250
_LARGE_BYTES = 700
_SURE_S = 0.03  # less than this beyond the round trip says nothing
_SAMPLES = 8
_SAMPLES_MIN = 2
TIMEOUT_MAX_S = 30.0
_TIMEOUT_LEAST_S = 3.0  # what RFC 6298 (5.7) takes after a loss
_DOUBT_BYTES_S = 300.0  # taken for a rate that is not known yet: a quarter of 9.6 kbit/s


class LinkSpeed:
    """Estimates for one neighbour. Nothing here reads a clock."""

    def __init__(self) -> None:
        self.rtt_s: float | None = None  # the shortest of a small question
        self._rates: deque[float] = deque(maxlen=_SAMPLES)
        self._took_s: deque[float] = deque(maxlen=_SAMPLES)
        self._patience = 1.0  # doubled when an answer did not come (RFC 6298, 5.5), 1 again when one came

    def took(self, size_bytes: int, seconds: float) -> None:
        """A question and its answer of `size_bytes` in all took so long."""
        if size_bytes <= _SMALL_BYTES or self.rtt_s is None:
            self.rtt_s = seconds if self.rtt_s is None else min(self.rtt_s, seconds)
        if size_bytes >= _LARGE_BYTES:
            beyond_s = seconds - self.rtt_s
            self._rates.append(size_bytes / max(_SURE_S / 10, beyond_s))
        self._took_s.append(seconds)
        self._patience = 1.0

    def missed(self) -> None:
        """A question had no answer in time."""
        self._patience *= 2.0

    def timeout_s(self, size_bytes: int) -> float:
        """How long to wait for a question and its answer of about `size_bytes` in all, on a link that is up
        and may lose either: by what such questions took lately, and the longest while nothing is known."""
        if not self._took_s:
            return TIMEOUT_MAX_S
        rate_bytes_s = self.rate_bytes_s() or _DOUBT_BYTES_S
        wait_s = _TIMEOUT_LEAST_S + 4.0 * (max(self._took_s) + size_bytes / rate_bytes_s)
        return min(TIMEOUT_MAX_S, self._patience * wait_s)

    def rate_bytes_s(self) -> float | None:
        """The best that was seen lately; None while too little is known."""
        return max(self._rates) if len(self._rates) >= _SAMPLES_MIN else None

    def narrow(self) -> bool:
        rate = self.rate_bytes_s()
        return rate is not None and rate < NARROW_BYTES_S
