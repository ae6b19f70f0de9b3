"""One kept-alive HTTP connection to a server on this machine, for requests one after the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from urllib.parse import urlsplit

LIMIT_S = 5.0  # for an answer
IDLE_S = 2.0  # after which the server may be about to close the connection
ANSWER_BYTES_MAX = 1 << 20


class Connection:
    """Raises OSError, TimeoutError or ValueError where no answer comes; the next request connects again."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used_s = 0.0

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """The status and the body of the answer."""
        loop = asyncio.get_running_loop()
        if self._streams is not None and loop.time() - self._used_s > IDLE_S:
            self.close()
        try:
            async with asyncio.timeout(LIMIT_S):
                if self._streams is None:
                    self._streams = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._streams
                lines = [f"POST {path} HTTP/1.1", f"host: {self._host}:{self._port}"]
                lines += [f"content-length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                return await self._answer(reader)
        except BaseException:  # whatever is left of the answer belongs to no later request
            self.close()
            raise
        finally:
            self._used_s = loop.time()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ConnectionResetError("the server closed the connection") from error
        first, *fields = head.split("\r\n")
        said = {name.strip().lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)}
        size = int(said.get("content-length", "0"))
        if size > ANSWER_BYTES_MAX:
            raise ValueError(f"an answer of {size} bytes")
        try:
            body = await reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the server closed the connection") from error
        if said.get("connection", "").lower() == "close":
            self.close()
        return int(first.split()[1]), body

    def close(self) -> None:
        """Give the connection up; may be called twice."""
        if self._streams is not None:
            with contextlib.suppress(OSError):
                self._streams[1].close()
        self._streams = None
