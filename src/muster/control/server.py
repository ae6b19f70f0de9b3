"""The server of a control socket: JSON lines over a Unix socket that only its owner can open.

A request is one line `{"op": ..., ...}`; an answer is one line, `{"ok": ...}` or
`{"error": {"code", "sentence"}}`.  A stream goes on without end, one line an item.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from muster.errors import MusterError
from muster.protocol.envelope import UNREADABLE

REQUEST_BYTES_MAX = 1024 * 1024
CONNECTIONS_MAX = 64
PATH_BYTES_MAX = 107  # of a Unix socket, on Linux

Operation = Callable[[dict[str, Any]], Awaitable[Any]]
Stream = Callable[[dict[str, Any]], AsyncIterator[Any]]

_encode = msgspec.json.Encoder().encode


class ControlServer:
    """Serves `operations` (one answer each) and `streams` on a Unix socket; `owner` stands in sentences."""

    def __init__(
        self,
        path: Path,
        operations: Mapping[str, Operation],
        streams: Mapping[str, Stream] | None = None,
        *,
        owner: str = "the daemon",
        request_bytes_max: int = REQUEST_BYTES_MAX,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._path, self._operations, self._streams = path, operations, streams or {}
        self._owner = owner
        self._request_bytes_max, self._connections_max = request_bytes_max, connections_max
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Opens the socket. Raises MusterError usage (the path is too long) or home (it cannot be made)."""
        if len(os.fsencode(self._path)) > PATH_BYTES_MAX:
            raise MusterError(
                "usage", f"the path {self._path} is too long for a socket; use a shorter directory"
            )
        mask = os.umask(0o177)
        try:
            self._path.unlink(missing_ok=True)  # left by an owner that was killed: no other one lives here
            self._server = await asyncio.start_unix_server(
                self._serve, path=str(self._path), limit=self._request_bytes_max
            )
        except OSError as error:
            raise MusterError("home", f"the control socket {self._path} cannot be made: {error}") from error
        finally:
            os.umask(mask)

    async def close(self) -> None:
        """Ends every connection and removes the socket, if it was opened."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= self._connections_max:
            writer.close()
            return
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                await self._answer(line, writer)
        except (OSError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass  # the caller is gone, its line is over the limit, or the owner ends
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
            op = str(request.pop("op", ""))
            if op in self._streams:
                async for item in self._streams[op](request):
                    writer.write(_encode(item) + b"\n")
                    await writer.drain()
                return
            operation = self._operations.get(op)
            if operation is None:
                known = ", ".join((*self._operations, *self._streams))
                raise MusterError(
                    "usage", f"{self._owner} does not know the request {op!r}; there are {known}"
                )
            answer: Any = {"ok": await operation(request)}
        except MusterError as error:
            answer = {"error": {"code": error.code, "sentence": error.sentence}}
        except UNREADABLE as error:
            answer = {"error": {"code": "usage", "sentence": f"the request is malformed: {error}"}}
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a request to {self._owner} failed", "exception": error}
            )
            answer = {"error": {"code": "internal", "sentence": f"a fault in Muster: {error!r}"}}
        writer.write(_encode(answer) + b"\n")
        await writer.drain()
