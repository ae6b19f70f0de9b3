"""A program on an emulated node: start it, end it, stop it for a while, start it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeAlias

Output: TypeAlias = Path | IO[bytes] | int | None  # a file to append to, an open one, subprocess.PIPE, ours
Launch: TypeAlias = Callable[["Command"], Awaitable[asyncio.subprocess.Process]]

_POLL_S = 0.01


@dataclass(frozen=True)
class Command:
    """What to run: arguments, the whole environment (None: this process's), where its output goes."""

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    stdout: Output = None
    cwd: Path | None = None


class NodeProcess:
    """One program on one node, in its own session, with all the processes of its process group."""

    def __init__(
        self, node: str, command: Command, launch: Launch, process: asyncio.subprocess.Process
    ) -> None:
        self.node = node
        self.command = command
        self._launch = launch
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    @property
    def stdout(self) -> asyncio.StreamReader | None:
        """Its output, when it was started with subprocess.PIPE."""
        return self._process.stdout

    async def wait(self) -> int:
        """Its exit status, once it has ended.

        asyncio's own wait goes on until every copy of a piped output is closed, which a child that was left
        behind may hold open for ever.
        """
        while (code := self._process.returncode) is None:
            await asyncio.sleep(_POLL_S)
        return code

    def signal(self, number: int) -> None:
        """Send a signal to the whole group; nothing happens when it is gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def kill(self) -> None:
        """As at a power cut."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self, grace_s: float) -> None:
        """Ask it to end; after `grace_s` it has no choice. A paused one goes on first."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self.wait()
        await self.kill()

    def pause(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    async def restart(self) -> None:
        """Kill it if it runs and start the same command again."""
        await self.kill()
        self._process = await self._launch(self.command)


async def launch(command: Command, prefix: Sequence[str]) -> asyncio.subprocess.Process:
    """Start `prefix` + the command in a session of its own, standard error with its output, no input."""
    output = command.stdout
    with contextlib.ExitStack() as stack:
        if isinstance(output, Path):
            target: IO[bytes] | int | None = stack.enter_context(output.open("ab"))
        else:
            target = output
        return await asyncio.create_subprocess_exec(
            *prefix,
            *command.argv,
            env=command.env,
            cwd=command.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=target,
            stderr=None if target is None else asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
