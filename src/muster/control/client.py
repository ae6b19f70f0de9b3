"""The client of a control socket on an event loop.

Raises OSError when nobody listens, EOFError when the other end closes before its answer, ValueError when a
line is over the limit, and the MusterError that the other end answered with. The caller knows whose socket
it is and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

from muster.control.lines import ANSWER_BYTES_MAX, opened, request_line, whole


class Connection:
    """An open connection on the running loop; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, op: str, **arguments: Any) -> Any:
        """The value of "ok" in the answer."""
        return opened(await self.ask_line(op, **arguments))

    async def ask_line(self, op: str, **arguments: Any) -> bytes:
        """The answer as it came, one line."""
        self._writer.write(request_line(op, arguments))
        return whole(await self._reader.readline())

    async def stream(self, op: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        """The items of a stream, until the other end closes."""
        self._writer.write(request_line(op, arguments))
        while (line := await self._reader.readline()).endswith(b"\n"):
            yield opened(line, "event")


@contextlib.asynccontextmanager
async def connected(path: Path, answer_bytes_max: int = ANSWER_BYTES_MAX) -> AsyncIterator[Connection]:
    """A connection to the socket at `path`, closed at the end."""
    reader, writer = await asyncio.open_unix_connection(str(path), limit=answer_bytes_max)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
