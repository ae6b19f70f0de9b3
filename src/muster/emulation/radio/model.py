"""The radio: what one direction of a link does to frames, as a pure model in which time is passed in.

A frame waits in the sender's queue (tail drop by bytes), is sent at the rate, may be lost (it has used its
air time then), and arrives after delay and jitter.  Order is kept: jitter varies the delay, it never lets a
frame overtake another.  Loss is independent per frame, or comes in bursts (`bursts`).

Directions that name the same channel share its air time: only one of them sends at a time, in the order in
which the frames came.
"""

from __future__ import annotations

from collections import deque
from random import Random

import msgspec

from muster.emulation.radio.bursts import BadSpells, Burst, Chain

QUEUE_MS = 1000.0  # of the rate, when the link says nothing
QUEUE_BYTES_MIN = 16 * 1024
QUEUE_BYTES_MAX = 16 * 1024 * 1024


class LinkParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One direction of a link. Bytes on the wire count the Ethernet header (14 bytes), no checksum."""

    rate_kbit_s: float = 1000.0  # over 0, at most 10,000,000
    delay_ms: float = 0.0  # of this direction
    jitter_ms: float = 0.0  # the delay is uniform in delay_ms +- jitter_ms
    loss: float = 0.0  # 0..1, independent per frame (in the good state when there are bursts)
    burst: Burst | None = None  # loss in bursts, see below
    queue_ms: float | None = None  # the queue's length as time at the rate ...
    queue_bytes: int | None = None  # ... or in bytes, which goes first
    channel: str = ""  # directions of the same channel share its air time
    up: bool = True  # false: it carries nothing

    def queue_limit_bytes(self) -> int:
        """How much may wait; at least 16 KiB unless `queue_bytes` says less, at most 16 MiB."""
        if self.queue_bytes is not None:
            return min(self.queue_bytes, QUEUE_BYTES_MAX)
        ms = QUEUE_MS if self.queue_ms is None else self.queue_ms
        floor = QUEUE_BYTES_MIN if self.queue_ms is None else 1514
        return max(floor, min(int(self.rate_kbit_s * ms / 8), QUEUE_BYTES_MAX))


def fault_in(params: LinkParams) -> str | None:
    """What is wrong with these parameters, as the end of a sentence, or None."""
    if not 0 < params.rate_kbit_s <= 10_000_000:
        return f"rate_kbit_s is {params.rate_kbit_s:g}, it must be over 0 and at most 10000000"
    for name in ("delay_ms", "jitter_ms", "queue_ms", "queue_bytes"):
        value = getattr(params, name)
        if value is not None and not 0 <= value <= 1e9:
            return f"{name} is {value:g}, it must not be negative"
    if params.jitter_ms > params.delay_ms:
        return f"jitter_ms is {params.jitter_ms:g}, it must not exceed delay_ms ({params.delay_ms:g})"
    chances = [("loss", params.loss)]
    if params.burst is not None:
        chances += [
            (f"burst.{name}", getattr(params.burst, name))
            for name in ("p_good_to_bad", "p_bad_to_good", "loss_bad")
        ]
    for name, value in chances:
        if not 0 <= value <= 1:
            return f"{name} is {value:g}, it must lie between 0 and 1"
    return None


class LinkCount(msgspec.Struct, frozen=True):
    """One direction since the start: frames and bytes sent, and of these delivered or dropped.

    `frames` and `bytes` are what the sender's radio took up: everything offered while the link was up
    except what did not fit into the queue.  `dropped_*` are frames: lost on the air, tail-dropped, and
    offered (or in flight) while the link was down.  `unsent_bytes` are those of `bytes` that still waited in
    the queue when the link went down: they were never on the air.
    """

    frames: int = 0
    bytes: int = 0
    delivered_frames: int = 0
    delivered_bytes: int = 0
    dropped_loss: int = 0
    dropped_queue: int = 0
    dropped_down: int = 0
    unsent_bytes: int = 0

    @property
    def dropped(self) -> int:
        return self.dropped_loss + self.dropped_queue + self.dropped_down


class Channel:
    """Air time: until when it is taken."""

    __slots__ = ("busy_until_s",)

    def __init__(self) -> None:
        self.busy_until_s = 0.0


class Direction:
    """The model of one direction. Frames are opaque bytes; the caller asks `next_s` when to `deliver`."""

    __slots__ = (
        "_backlog_bytes",
        "_chain",
        "_channel",
        "_delay_s",
        "_flying",
        "_jitter_s",
        "_last_arrival_s",
        "_limit_bytes",
        "_rng",
        "_s_per_byte",
        "_waiting",
        "bytes",
        "delivered_bytes",
        "delivered_frames",
        "dropped_down",
        "dropped_loss",
        "dropped_queue",
        "frames",
        "params",
        "unsent_bytes",
    )

    def __init__(self, params: LinkParams, channel: Channel, rng: Random, now_s: float = 0.0) -> None:
        self._channel = channel
        self._rng = rng
        self._chain = Chain(rng)
        self._waiting: deque[tuple[float, int]] = deque()  # (sent at, bytes) not yet wholly sent
        self._backlog_bytes = 0
        # (arrives at, sent at, frame, or None when it was lost on the air), in order of arrival
        self._flying: deque[tuple[float, float, int, bytes | None]] = deque()
        self._last_arrival_s = 0.0
        self.frames = self.bytes = self.delivered_frames = self.delivered_bytes = 0
        self.dropped_loss = self.dropped_queue = self.dropped_down = self.unsent_bytes = 0
        self._take(now_s, params)

    def _take(self, now_s: float, params: LinkParams) -> None:
        self.params = params
        self._chain.follow(now_s, params.burst)
        self._s_per_byte = 8 / (params.rate_kbit_s * 1000)
        self._delay_s = params.delay_ms / 1000
        self._jitter_s = params.jitter_ms / 1000
        self._limit_bytes = params.queue_limit_bytes()

    def count(self) -> LinkCount:
        """The counters, as of now."""
        return LinkCount(
            self.frames,
            self.bytes,
            self.delivered_frames,
            self.delivered_bytes,
            self.dropped_loss,
            self.dropped_queue,
            self.dropped_down,
            self.unsent_bytes,
        )

    def bad_spells(self, now_s: float, since_s: float) -> BadSpells:
        """What the bursts did; of the spells those that ended after `since_s`, and the present one."""
        return self._chain.read(now_s, since_s)

    def backlog_bytes(self, now_s: float) -> int:
        """Bytes that wait or are being sent."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_s:
            self._backlog_bytes -= waiting.popleft()[1]
        return self._backlog_bytes

    def offer(self, now_s: float, frame: bytes) -> bool:
        """The sender hands over a frame; True when there is now something to wait for."""
        if not self.params.up:
            self.dropped_down += 1
            return False
        size = len(frame)
        backlog = self.backlog_bytes(now_s)
        if backlog and backlog + size > self._limit_bytes:
            self.dropped_queue += 1
            return False
        self.frames += 1
        self.bytes += size
        channel = self._channel
        start_s = channel.busy_until_s if channel.busy_until_s > now_s else now_s
        sent_s = start_s + size * self._s_per_byte
        channel.busy_until_s = sent_s
        self._waiting.append((sent_s, size))
        self._backlog_bytes = backlog + size
        lost = self._lost(start_s, sent_s)
        arrival_s = self._arrival(sent_s)
        self._flying.append((arrival_s, sent_s, size, None if lost else frame))
        return True

    def _arrival(self, sent_s: float) -> float:
        arrival_s = sent_s + self._delay_s
        if self._jitter_s:
            arrival_s += self._jitter_s * (2 * self._rng.random() - 1)
        if arrival_s < self._last_arrival_s:
            arrival_s = self._last_arrival_s
        self._last_arrival_s = arrival_s
        return arrival_s

    def _lost(self, start_s: float, sent_s: float) -> bool:
        loss = self.params.loss
        burst = self.params.burst
        if burst is not None and self._chain.frame(start_s, sent_s):
            loss = burst.loss_bad
        return loss > 0 and self._rng.random() < loss

    def next_s(self) -> float | None:
        """When `deliver` has something to do."""
        return self._flying[0][0] if self._flying else None

    def deliver(self, now_s: float) -> list[bytes]:
        """The frames that have arrived by now, in order."""
        arrived: list[bytes] = []
        flying = self._flying
        while flying and flying[0][0] <= now_s:
            _, _, size, frame = flying.popleft()
            if frame is None:
                self.dropped_loss += 1
                continue
            self.delivered_frames += 1
            self.delivered_bytes += size
            arrived.append(frame)
        return arrived

    def change(self, now_s: float, params: LinkParams) -> None:
        """New parameters from now on, also for what waits in the queue; going down loses what is in flight.

        On a shared channel the air time that others have already been given stays theirs: what waits
        there keeps its times.
        """
        self.backlog_bytes(now_s)
        rate_changed = params.rate_kbit_s != self.params.rate_kbit_s
        shared = bool(self.params.channel or params.channel)
        self._take(now_s, params)
        if not params.up:
            self.dropped_down += len(self._flying)
            self.unsent_bytes += self._backlog_bytes
            self._flying.clear()
            self._waiting.clear()
            self._backlog_bytes = 0
            self._last_arrival_s = now_s
            self._chain.cut(now_s)
            if not shared:
                self._channel.busy_until_s = now_s
        elif rate_changed and not shared:
            self._resend(now_s)

    def _resend(self, now_s: float) -> None:
        """Give what waits new times at the new rate (a frame half sent starts again)."""
        held = [entry for entry in self._flying if entry[1] > now_s]
        for _ in held:
            self._flying.pop()
        self._last_arrival_s = self._flying[-1][0] if self._flying else now_s
        self._waiting.clear()
        sent_s = now_s
        for _, _, size, frame in held:
            sent_s += size * self._s_per_byte
            self._waiting.append((sent_s, size))
            self._flying.append((self._arrival(sent_s), sent_s, size, frame))
        self._channel.busy_until_s = sent_s
