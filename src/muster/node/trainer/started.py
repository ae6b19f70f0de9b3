"""Starts a process in another thread: fork and exec take a while where the daemon or the machine is large or
busy, and the event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from muster.node.trainer.forks import FORKS, ForkedProcess

Child: TypeAlias = "subprocess.Popen[bytes] | ForkedProcess"


class StartedProcess:
    """A child with pipes that belong to the event loop. `close` it at the end."""

    def __init__(self, process: Child) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        self._transports: list[asyncio.BaseTransport] = []
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self.stdin: asyncio.WriteTransport
        threading.Thread(target=self._watch, name=f"child {process.pid}", daemon=True).start()

    @classmethod
    async def start(cls, argv: Sequence[str], env: Mapping[str, str]) -> StartedProcess:
        """Raises OSError. A child that nobody waits for any more is ended. Where the environment names a fork
        server, that makes the child."""

        def popen() -> Child:
            if forks := env.get(FORKS):
                return ForkedProcess(forks, env)
            pipe = subprocess.PIPE
            return subprocess.Popen(argv, bufsize=0, stdin=pipe, stdout=pipe, stderr=pipe, env=env)

        # A thread of the loop's own pool lives as long as the loop; the child dies with the thread that
        # started it (PR_SET_PDEATHSIG).
        starting = asyncio.get_running_loop().run_in_executor(None, popen)
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_end)
            raise
        started = cls(process)
        await started._connect()
        return started

    async def _connect(self) -> None:
        process, loop = self._process, self._loop
        assert process.stdin is not None
        self.stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
        self._transports.append(self.stdin)
        for reader, pipe in ((self.stdout, process.stdout), (self.stderr, process.stderr)):
            transport, _ = await loop.connect_read_pipe(
                lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
                pipe,
            )
            self._transports.append(transport)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; -N when the signal N ended it."""
        return self._process.returncode

    async def wait(self) -> None:
        await self._over.wait()

    def kill(self) -> None:
        """Does nothing to a process that has ended."""
        self._process.kill()

    def close(self) -> None:
        """Close the pipes."""
        for transport in self._transports:
            transport.close()

    def _watch(self) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._over.set)


def _end(starting: asyncio.Future[Child]) -> None:
    if starting.cancelled() or starting.exception() is not None:
        return
    process = starting.result()
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
