"""The daemon's door for programs of the same machine: JSON lines over a Unix socket in the node's home.

A request is one line `{"op": ..., ...}`; an answer is one line, `{"ok": ...}` or
`{"error": {"code", "sentence"}}`.  `events` goes on without end.  Only the home's owner can open the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from muster.errors import MusterError
from muster.protocol.envelope import UNREADABLE

REQUEST_BYTES_MAX = 1024 * 1024
CONNECTIONS_MAX = 64

Operation = Callable[[dict[str, Any]], Awaitable[Any]]
Stream = Callable[[dict[str, Any]], AsyncIterator[Any]]

_encode = msgspec.json.Encoder().encode


class ControlServer:
    """Serves `operations` (one answer each) and `streams` on a Unix socket."""

    def __init__(self, path: Path, operations: dict[str, Operation], streams: dict[str, Stream]) -> None:
        self._path, self._operations, self._streams = path, operations, streams
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()  # of a daemon that was killed: the home's lock says that none lives
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, path=str(self._path), limit=REQUEST_BYTES_MAX
            )
        finally:
            os.umask(mask)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                await self._answer(line, writer)
        except (ConnectionError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass  # the caller is gone, or the daemon ends
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
                raise MusterError("usage", f"the daemon does not know the request {op!r}")
            answer: Any = {"ok": await operation(request)}
        except MusterError as error:
            answer = {"error": {"code": error.code, "sentence": error.sentence}}
        except UNREADABLE as error:
            answer = {"error": {"code": "usage", "sentence": f"the request is malformed: {error}"}}
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a request to the daemon failed", "exception": error}
            )
            answer = {"error": {"code": "internal", "sentence": f"a fault in Muster: {error!r}"}}
        writer.write(_encode(answer) + b"\n")
        await writer.drain()
