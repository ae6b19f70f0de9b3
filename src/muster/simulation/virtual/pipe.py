"""One direction of a simulated link: bytes leave one after another at the link's rate, control first.

Two queues; a control message interrupts a bulk message, which then goes on where it was.  The events are
two a message (last byte out, arrival), whatever its size.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from muster.network.transport.link import Urgency

_ORDER = (Urgency.CONTROL, Urgency.BULK)
QUEUE_BYTES_MAX = 1024 * 1024  # behind a longer queue the neighbour counts as unreachable


@dataclass(frozen=True)
class PathParams:
    """One direction of a link. Probabilities are per message."""

    rate_bytes_s: float = 125_000.0
    delay_s: float = 0.02
    jitter_s: float = 0.0  # uniform 0..jitter_s is added to the delay
    ask_loss: float = 0.0  # a question or an answer never arrives
    nudge_loss: float = 0.0
    nudge_duplicate: float = 0.0
    nudge_reorder: float = 0.0  # arrives up to a second later
    nudge_corrupt: float = 0.0  # one bit is flipped
    overhead_bytes: int = 60  # added to every message


@dataclass(slots=True)
class _Message:
    left_bytes: float
    arrive: Callable[[], None]
    keeps_order: bool


class Pipe:
    """Sends messages; `arrive` is called when one is there. `hold` stops it without losing what is queued."""

    def __init__(self, rng: random.Random, params: PathParams) -> None:
        self.params = params
        self.carried_bytes = 0
        self.held = False
        self._rng = rng
        self._queues: tuple[deque[_Message], deque[_Message]] = (deque(), deque())
        self._queued_bytes = 0.0
        self._sending: _Message | None = None
        self._sending_urgency = Urgency.CONTROL
        self._since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._last_arrival_s = 0.0
        self._stalled: list[_Message] = []  # sent, not arrived, when the pipe was held
        self._context = contextvars.Context()  # what was sent belongs to neither end

    def send(
        self, size_bytes: int, urgency: Urgency, arrive: Callable[[], None], *, keeps_order: bool = True
    ) -> bool:
        """Queue a message; False when the queue is full (control always has room for a quarter more)."""
        room = QUEUE_BYTES_MAX * (1.25 if urgency is Urgency.CONTROL else 1.0)
        if self._queued_bytes + size_bytes > room:
            return False
        self.carried_bytes += size_bytes
        self._queued_bytes += size_bytes
        self._queues[urgency].append(_Message(size_bytes, arrive, keeps_order))
        if self._sending is not None and urgency < self._sending_urgency:
            self._interrupt()
        self._next()
        return True

    def change(self, params: PathParams) -> None:
        self._interrupt()
        self.params = params
        self._next()

    def hold(self) -> None:
        self._interrupt()
        self.held = True

    def release(self) -> None:
        self.held = False
        stalled, self._stalled = self._stalled, []
        for message in stalled:
            self._travel(message)
        self._next()

    def flush(self) -> None:
        """Lose everything queued (the session is over)."""
        self._interrupt()
        for queue in self._queues:
            queue.clear()
        self._queued_bytes = 0.0
        self._stalled.clear()

    def _interrupt(self) -> None:
        if self._sending is None or self._timer is None:
            return
        self._timer.cancel()
        elapsed_s = asyncio.get_running_loop().time() - self._since_s
        left_bytes = max(0.0, self._sending.left_bytes - elapsed_s * self.params.rate_bytes_s)
        self._queued_bytes -= self._sending.left_bytes - left_bytes
        self._sending.left_bytes = left_bytes
        self._queues[self._sending_urgency].appendleft(self._sending)
        self._sending = self._timer = None

    def _next(self) -> None:
        if self.held or self._sending is not None or self.params.rate_bytes_s <= 0:
            return
        for urgency in _ORDER:
            if self._queues[urgency]:
                loop = asyncio.get_running_loop()
                self._sending, self._sending_urgency = self._queues[urgency].popleft(), urgency
                self._since_s = loop.time()
                out_s = self._since_s + self._sending.left_bytes / self.params.rate_bytes_s
                self._timer = loop.call_at(out_s, self._out, context=self._context)
                return

    def _out(self) -> None:
        message, self._sending, self._timer = self._sending, None, None
        assert message is not None
        self._queued_bytes -= message.left_bytes
        self._travel(message)
        self._next()

    def _travel(self, message: _Message) -> None:
        loop = asyncio.get_running_loop()
        arrival_s = loop.time() + self.params.delay_s
        if self.params.jitter_s:
            arrival_s += self._rng.random() * self.params.jitter_s
        if message.keeps_order:
            self._last_arrival_s = arrival_s = max(arrival_s, self._last_arrival_s)
        loop.call_at(arrival_s, self._arrived, message, context=self._context)

    def _arrived(self, message: _Message) -> None:
        if not self.held:
            message.arrive()
        elif message.keeps_order:
            self._stalled.append(message)
