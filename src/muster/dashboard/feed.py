"""What the page shows, as tables of rows, and the numbered stream of what changes in them.

State, not messages: a reader that missed something takes the whole state and goes on from there.  A patch is
encoded once for all readers; a reader pulls from the ring at its own pace, so that a slow one costs nothing
and, once it has fallen off the ring, gets a snapshot.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec

from muster.node.api.rows.changes import Row, Rows, absorb, changed_fields

TABLES = ("nodes", "links", "jobs", "rounds", "commits", "contributions", "field", "marks")
RING_EVENTS_MAX = 4096
RING_BYTES_MAX = 4 * 1024 * 1024
LOG_MAX = 500
READERS_MAX = 32
PATCH_EVERY_S = 0.05
TICK_EVERY_S = 1.0

_encode = msgspec.json.Encoder().encode


class Feed:
    """The state of one page server. Instants in it are on its clock, which begins at 0."""

    def __init__(self, header: Row, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._start_s = clock, clock()
        self.boot = secrets.token_hex(4)
        self.sequence = 0
        self.fresh_t = 0.0  # when the newest data came from the node
        self.header: Row = {**header, "boot": self.boot, "epoch_s": time.time() - self.t()}
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in TABLES}
        self.log: deque[Row] = deque(maxlen=LOG_MAX)
        self.readers = 0
        self._lines = 0  # of the log, ever
        self._ring: deque[tuple[int, bytes]] = deque()
        self._ring_bytes = 0
        self._pending: dict[str, Any] = {}
        self._flush: asyncio.TimerHandle | None = None
        self._flushed_s = -PATCH_EVERY_S
        self._news = asyncio.Event()
        self._over = False

    def t(self) -> float:
        """The feed clock, in seconds."""
        return round(self._clock() - self._start_s, 3)

    def at(self, monotonic_s: float) -> float:
        """An instant of the clock that was passed in, on the feed clock."""
        return round(monotonic_s - self._start_s, 3)

    # ---- writing ------------------------------------------------------------------------------------

    def publish(self, changes: Mapping[str, Rows]) -> None:
        """Take rows in, whole or in part; what differs goes out, within `PATCH_EVERY_S`."""
        for table, rows in changes.items():
            known, pending = self.tables[table], self._pending.get(table, {})
            came = [key for key, row in rows.items() if row is not None and key not in known]
            if any(pending.get(key, key) is None for key in came):
                self.flush()  # or a row that came back would be laid over the one that went
            if fresh := absorb(known, rows):
                self._merge(table, fresh)

    def describe(self, fields: Row) -> None:
        """Set fields of the header."""
        if changed := changed_fields(self.header, fields):
            self.header.update(changed)
            self._pending.setdefault("header", {}).update(changed)
            self._schedule()

    def add_line(
        self, kind: str, text: str, *, t: float | None = None, node: str | None = None, job: str | None = None
    ) -> None:
        """Add a line to the log."""
        self._lines += 1
        at = self.t() if t is None else t
        line = {"n": self._lines, "t": at, "kind": kind, "text": text, "node": node, "job": job}
        self.log.append(line)
        self._pending.setdefault("log", []).append(line)
        self._schedule()

    def clear(self, tables: tuple[str, ...]) -> None:
        """Forget these tables: another node is looked at from now on. Readers get a snapshot."""
        self.flush()
        for table in tables:
            self.tables[table].clear()
        self._send(b"snapshot", None)

    def _merge(self, table: str, fresh: Rows) -> None:
        pending = self._pending.setdefault(table, {})
        for key, row in fresh.items():
            if row is not None and pending.get(key) is not None:
                pending[key].update(row)
            else:
                pending[key] = row
        self._schedule()

    def _schedule(self) -> None:
        if self._flush is None:
            wait_s = self._flushed_s + PATCH_EVERY_S - self._clock()
            self._flush = asyncio.get_running_loop().call_later(max(0.0, wait_s), self.flush)

    def flush(self) -> None:
        """Send what is waiting now."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if not self._pending:
            return
        self._flushed_s = self._clock()
        pending, self._pending = self._pending, {}
        self._send(b"patch", {"t": self.t(), "fresh_t": self.fresh_t, **pending})

    def _send(self, kind: bytes, data: Row | None) -> None:
        """A snapshot is encoded when it is read: it says who reads it."""
        self.sequence += 1
        text = b"" if data is None else self._event(kind, _encode(data), self.sequence)
        self._ring.append((self.sequence, text))
        self._ring_bytes += len(text)
        while len(self._ring) > RING_EVENTS_MAX or self._ring_bytes > RING_BYTES_MAX:
            self._ring_bytes -= len(self._ring.popleft()[1])
        news, self._news = self._news, asyncio.Event()
        news.set()

    def close(self) -> None:
        """End every reader's stream."""
        self.flush()
        self._over = True
        self._news.set()

    # ---- reading ------------------------------------------------------------------------------------

    def state(self, role: str) -> bytes:
        """Everything, as JSON, for a reader of that role."""
        self.flush()
        source = {**self.header.get("source", {}), "fresh_t": self.fresh_t}
        return _encode(
            {
                "t": self.t(),
                "id": f"{self.boot}-{self.sequence}",
                "header": {**self.header, "source": source, "role": role},
                **self.tables,
                "log": list(self.log),
            }
        )

    def number(self, since: str) -> int | None:
        """The sequence number to go on after, or None when only a snapshot will do."""
        boot, dash, number = since.rpartition("-")
        if (dash and boot != self.boot) or not (number.isascii() and number.isdigit()) or len(number) > 15:
            return None
        oldest = self._ring[0][0] if self._ring else self.sequence + 1
        return int(number) if oldest - 1 <= int(number) <= self.sequence else None

    async def follow(self, since: str, role: str) -> AsyncIterator[bytes]:
        """Events for one reader, until `close`: first a snapshot unless `since` can be gone on from."""
        yield b"retry: 700\n\n"
        self.flush()
        number = self.number(since)
        while True:
            if number is None:
                data = self.state(role)
                number = self.sequence
                yield self._event(b"snapshot", data, number)
            news = self._news
            if number < self.sequence:
                index = number + 1 - self._ring[0][0] if self._ring else -1  # one event may be over the limit
                if index < 0 or not self._ring[index][1]:
                    number = None
                    continue
                number += 1
                yield self._ring[index][1]
                continue
            if self._over:
                return
            try:
                async with asyncio.timeout(TICK_EVERY_S):
                    await news.wait()
            except TimeoutError:
                yield self._event(b"tick", _encode({"t": self.t(), "fresh_t": self.fresh_t}), None)

    def _event(self, kind: bytes, data: bytes, number: int | None) -> bytes:
        head = f"id: {self.boot}-{number}\n".encode() if number is not None else b""
        return head + b"event: " + kind + b"\ndata: " + data + b"\n\n"
