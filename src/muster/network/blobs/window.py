"""How much may be outstanding with one neighbour, and how long its answers may take.

Each neighbour has its own window, so that a slow one holds up nobody else.  Nothing here reads a clock.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from muster.network.blobs.meter import GoodputMeter, Mark
from muster.protocol.ids import NodeId

FIRST_TIMEOUT_S = 3.0
FIRST_RATE_BYTES_S = 300.0  # a quarter of 9.6 kbit/s
TIMEOUT_MAX_S = 300.0
TIMEOUT_FACTOR_MAX = 32.0
UNKNOWN_RATE_BYTES_S = 4000.0  # assumed of a neighbour that has not sent anything yet


@dataclass(eq=False)
class PeerWindow:
    """Counts the bytes that one neighbour was asked for and has not sent yet."""

    meter: GoodputMeter = field(default_factory=GoodputMeter)
    outstanding_bytes: int = 0
    requests: int = 0
    _timeout_factor: float = 1.0  # doubled when an answer did not come (RFC 6298, 5.5), reset by one
    _doubled_s: float = -math.inf  # when it was last doubled

    def next_chunk_bytes(self) -> int:
        """The size of the next chunk to ask for; 0 while the window is full."""
        size = self.meter.window_size()
        room_bytes = size.size_bytes - self.outstanding_bytes
        return 0 if room_bytes < size.chunk_bytes and self.requests else size.chunk_bytes

    def add(self, size_bytes: int) -> None:
        """`size_bytes` will be asked for."""
        self.requests += 1
        self.outstanding_bytes += size_bytes

    def release(self, size_bytes: int) -> None:
        """A request of `size_bytes` was answered, failed, or does not count any more."""
        self.requests -= 1
        self.outstanding_bytes -= size_bytes

    def on_sent(self, now_s: float) -> Mark:
        """A request goes out now; its mark is given back with the answer."""
        limited = self.outstanding_bytes < self.meter.window_size().size_bytes
        return self.meter.asked(now_s, limited=limited)

    def on_answer(self, mark: Mark, now_s: float, size_bytes: int, held_s: float) -> None:
        self._timeout_factor = 1.0
        self.meter.answered(mark, now_s, size_bytes, held_s)

    def on_no_answer(self, asked_s: float, now_s: float) -> None:
        """A request of `asked_s` had no answer. Several that were outstanding together count once."""
        self.meter.lost()
        if asked_s >= self._doubled_s:
            self._timeout_factor = min(2.0 * self._timeout_factor, TIMEOUT_FACTOR_MAX)
            self._doubled_s = now_s

    def timeout_s(self) -> float:
        """For answers that were lost although the link is up; a lost link is reported at once.

        Where a rate is known it is generous.  Where none is, it is the three seconds that RFC 6298 takes
        after a loss and the bytes at a rate that is low even for the narrowest link.
        """
        rate_bytes_s, rtt_s = self.meter.rate_bytes_s, self.meter.rtt_min_s or 0.0
        if rate_bytes_s is None:
            wait_s = FIRST_TIMEOUT_S + 4.0 * rtt_s + self.outstanding_bytes / FIRST_RATE_BYTES_S
        else:
            wait_s = 10.0 + 4.0 * (self.outstanding_bytes / rate_bytes_s + rtt_s)
        return min(self._timeout_factor * wait_s, TIMEOUT_MAX_S)

    def usual_s(self) -> float:
        """By when an answer that only had to travel is here, all but surely."""
        rate_bytes_s = self.meter.rate_bytes_s or UNKNOWN_RATE_BYTES_S
        return 0.5 + 2.0 * (self.outstanding_bytes / rate_bytes_s + (self.meter.rtt_min_s or 0.5))


class PeerWindows:
    """One window for each neighbour; beyond `count_max` the oldest idle one is forgotten."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._windows: OrderedDict[NodeId, PeerWindow] = OrderedDict()

    def find(self, node: NodeId) -> PeerWindow | None:
        return self._windows.get(node)

    def of(self, node: NodeId) -> PeerWindow:
        """The neighbour's window, a new one if it has none."""
        window = self._windows.get(node)
        if window is None:
            window = self._windows[node] = PeerWindow()
            while len(self._windows) > self._count_max:
                idle = next((n for n, w in self._windows.items() if w.requests == 0 and n != node), None)
                if idle is None:
                    break
                del self._windows[idle]
        return window
