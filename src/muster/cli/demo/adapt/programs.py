"""The programs beside the emulated network: a server a node, and the generator that uses them all.

They run on the machine's own loopback: who uses a node's model is on the node, and no radio lies between.
They are not the daemon's children, so that a daemon that is killed costs no request; they end with the demo.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from muster.cli.demo.adapt.generator import Orders, Tally
from muster.emulation import enter
from muster.emulation.node_process import Command, NodeProcess, launch
from muster.errors import MusterError
from muster.serving.paths import folder_of
from muster.serving.report import alive, read_report

GRACE_S, UP_S, LOOK_S = 5.0, 60.0, 0.1
SERVER_OUTPUT, GENERATOR_OUTPUT = "server.log", "generator.log"
# `enter` in no namespace: the program dies with this process, however that ends
_BESIDE = [sys.executable, "-I", "-S", str(enter.__file__)]


def _prefix() -> list[str]:
    return [*_BESIDE, str(os.getpid()), "0", "0", "0", "-1"]


@contextlib.asynccontextmanager
async def servers(homes: Mapping[str, Path], task: str) -> AsyncIterator[None]:
    """`muster serve` for each home; all answer that they are there, or a MusterError says which does not."""
    running: list[NodeProcess] = []

    async def start(command: Command) -> asyncio.subprocess.Process:
        return await launch(command, _prefix())

    try:
        for name, home in homes.items():
            home.mkdir(parents=True, exist_ok=True)
            argv = (sys.executable, "-m", "muster.cli.main", "serve", task, "--home", str(home))
            command = Command(argv, None, home / SERVER_OUTPUT)
            running.append(NodeProcess(name, command, start, await start(command)))
        for name, home in homes.items():
            await _until_up(name, home, task)
        yield
    finally:
        await asyncio.gather(*(one.terminate(GRACE_S) for one in running))


async def _until_up(name: str, home: Path, task: str) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(UP_S):
            while not alive(read_report(folder_of(home, task))):
                await asyncio.sleep(LOOK_S)
            return
    said = _last_line(home / SERVER_OUTPUT)
    raise MusterError("timeout", f"the server of {name} did not come up within {UP_S:g} s: {said}")


def _last_line(log: Path) -> str:
    lines = [line.strip(" |+-") for line in log.read_text("utf-8", "replace").splitlines()]  # of groups, too
    return next((line for line in reversed(lines) if line), f"it wrote nothing to {log}")


class Generator:
    """The running generator: takes orders, keeps what it tally last of each node."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log
        self._decoder = msgspec.json.Decoder(dict[str, Tally])
        self.tally: dict[str, Tally] = {}

    def order(self, orders: Orders) -> None:
        """What a node's camera does from now on."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(orders) + b"\n")

    async def listen(self) -> None:
        """Keep what it tells, until it ends."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self.tally = self._decoder.decode(line)

    @property
    def ended(self) -> str:
        """Why it ended; "": it runs."""
        if self._process.returncode is None:
            return ""
        return _last_line(self._log)


@contextlib.asynccontextmanager
async def generator(
    homes: Mapping[str, Path], task: str, world: Path, seed: int, rundir: Path
) -> AsyncIterator[Generator]:
    """The process that sends requests to all nodes' servers."""
    argv = ["-m", "muster.cli.demo.adapt.generator", task, str(world), str(seed)]
    with (rundir / GENERATOR_OUTPUT).open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *_prefix(), sys.executable, *argv, *(f"{name}={home}" for name, home in homes.items()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    found = Generator(process, rundir / GENERATOR_OUTPUT)
    listening = asyncio.ensure_future(found.listen())
    try:
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
