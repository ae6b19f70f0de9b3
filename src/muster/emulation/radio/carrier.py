"""Talks to the process that carries the emulated frames: a line of JSON there, a line back.

It ends, and everything in its namespaces with it, when its socket to this process closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from typing import Any

from muster.errors import MusterError

SETUP_S = 60.0
ANSWER_S = 20.0
_LINE_BYTES_MAX = 16 * 1024 * 1024


class Carrier:
    """The process that carries the frames; its requests are answered one after the other."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._requests = 0

    @property
    def pid(self) -> int:
        """0 before `start`."""
        return self._process.pid if self._process else 0

    async def start(self, module: str) -> None:
        """`module` is run with the socket as its standard input."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours, limit=_LINE_BYTES_MAX)

    async def close(self) -> None:
        """End the process, and wait until it has cleaned up."""
        if self._writer is not None:
            self._writer.close()  # it ends what is in the namespaces, then itself
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        if self._process is not None:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def ask(
        self, request: dict[str, Any], *, timeout_s: float = ANSWER_S, code: str = "internal"
    ) -> dict[str, Any]:
        """Raises MusterError `code` when the request is refused, internal when nobody answers."""
        if self._reader is None or self._writer is None:
            raise MusterError("internal", "the emulation has not been started")
        async with self._lock:
            try:
                async with asyncio.timeout(timeout_s):
                    self._requests += 1
                    number = self._requests
                    self._writer.write(json.dumps({**request, "number": number}).encode() + b"\n")
                    # Answers to requests whose asker was cancelled come first.
                    while (line := await self._reader.readline()) and json.loads(line)["number"] != number:
                        pass
            except (OSError, TimeoutError):
                line = b""
        if not line:
            raise MusterError("internal", "the process that carries the emulated frames is gone; start again")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise MusterError(code, answer["error"])
        return answer


def probe() -> str | None:
    """None when this machine can emulate a network; otherwise one sentence that says why not."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster.emulation.radio.forwarder"],
            stdin=theirs.fileno(),
            start_new_session=True,
        )
        theirs.close()
        ours.settimeout(SETUP_S)
        try:
            ours.sendall(
                json.dumps({"nodes": 2, "seed": 0, "links": [], "leftovers": [], "number": 0}).encode()
                + b"\n"
            )
            answer = json.loads(ours.makefile().readline() or '{"error": "the emulator does not start"}')
        except OSError as error:
            answer = {"error": f"the emulator does not start: {error}"}
        ours.shutdown(socket.SHUT_RDWR)
        process.wait()
    sentence: str | None = answer.get("error")
    return sentence
