"""The control socket: read and change a running emulation, JSON, a line a request and a line an answer.

    {"do": "nodes"}                                         name, address, condition of every node
    {"do": "links"}                                         parameters and counters of every direction
    {"do": "scenario"}                                      name, text, links as they were at first
    {"do": "set", "a": "delta", "b": "echo", "params": {"rate_kbit_s": 64}, "both": true}
    {"do": "fault", "fault": {"fault": "cut", "a": "delta", "b": "echo"}}

An answer with the key `error` says in one sentence why nothing was done (`code`: see muster.errors).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import msgspec

from muster.errors import MusterError

LINE_BYTES_MAX = 16 * 1024 * 1024
CLIENTS_MAX = 32
PATH_BYTES_MAX = 107  # of a Unix socket, on Linux

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class ControlServer:
    """Serves `answer` on a Unix socket that only this user can open."""

    def __init__(self, path: Path, answer: Answer) -> None:
        self._path = path
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        if len(str(self._path).encode()) > PATH_BYTES_MAX:
            raise MusterError(
                "usage", f"the path {self._path} is too long for a socket; use a shorter directory"
            )
        try:
            self._path.unlink(missing_ok=True)  # left by one that was killed
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=LINE_BYTES_MAX)
            self._path.chmod(0o600)
        except OSError as error:
            raise MusterError("home", f"the control socket {self._path} cannot be made: {error}") from error

    async def close(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._server.wait_closed()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            while len(self._clients) <= CLIENTS_MAX:
                line = await reader.readline()
                if not line:
                    break
                writer.write(json.dumps(await self._reply(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, asyncio.CancelledError):
            pass  # gone, a line over the limit, or the emulation ends
        finally:
            self._clients.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _reply(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a request is a JSON object")
            return await self._answer(request)
        except MusterError as error:
            return {"error": error.sentence, "code": error.code}
        except (ValueError, TypeError, msgspec.ValidationError) as error:
            return {"error": f"this request is malformed: {error}", "code": "usage"}


class Control:
    """A client of the control socket.

    async with Control(rundir / "control.sock") as control:
        links = (await control.ask(do="links"))["links"]
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def __aenter__(self) -> Self:
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=LINE_BYTES_MAX)
        except OSError as error:
            raise MusterError("no_node", f"no emulation answers at {self._path}; is it running?") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def ask(self, **request: Any) -> dict[str, Any]:
        """One request. Raises MusterError with the emulation's sentence."""
        line = b""
        with contextlib.suppress(OSError):
            self._writer.write(json.dumps(request).encode() + b"\n")
            line = await self._reader.readline()
        if not line:
            raise MusterError("no_node", "the emulation has ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MusterError(answer.get("code", "internal"), answer["error"])
        return answer
