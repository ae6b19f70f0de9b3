"""Runs the programs on all nodes of an emulation: by a node's name they are paused, killed, started again."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from muster.emulation import enter, node_faults
from muster.emulation.node_process import Command, NodeProcess, Output, launch


class NodePrograms:
    """What was started on each node, with the node's full disk and wrong clock.

    `namespace_arguments(node)` are the arguments by which `enter` finds the node's namespace; it is called
    each time that a program starts. A node's clock file lies in `rundir`, which is an absolute path.
    """

    def __init__(
        self, nodes: Sequence[str], rundir: Path, namespace_arguments: Callable[[str], list[str]]
    ) -> None:
        self._rundir, self._namespace_arguments = rundir, namespace_arguments
        self._started: dict[str, list[NodeProcess]] = {name: [] for name in nodes}
        self._killed: dict[str, list[NodeProcess]] = {name: [] for name in nodes}
        self._paused: set[str] = set()
        self._free_bytes: dict[str, int] = {}  # of disks that are nearly full
        self._offset_s: dict[str, float] = {}  # of clocks that are wrong

    async def spawn(
        self, node: str, argv: Sequence[str], env: Mapping[str, str], stdout: Output, cwd: Path | None
    ) -> NodeProcess:
        """Start a program; `env` is its whole environment."""
        enter_command = [sys.executable, "-I", "-S", str(enter.__file__), str(os.getpid())]

        async def start(command: Command) -> asyncio.subprocess.Process:
            room = str(self._free_bytes.get(node, -1))  # as it is when the program starts, or starts again
            return await launch(command, [*enter_command, *self._namespace_arguments(node), room])

        command = Command(tuple(argv), dict(env), stdout, cwd)
        handle = NodeProcess(node, command, start, await start(command))
        self._started[node] = [*self.of(node), handle]  # forgets what has ended
        return handle

    def of(self, node: str) -> list[NodeProcess]:
        """What runs on a node, or was killed and can be started again, in order."""
        return [
            process
            for process in self._started[node]
            if process.returncode is None or process in self._killed[node]
        ]

    def _running(self, node: str) -> list[NodeProcess]:
        return [process for process in self.of(node) if process.returncode is None]

    async def kill(self, node: str) -> None:
        """What was started here ends at once, and can be started again."""
        running = self._running(node)
        self._killed[node] += running
        self._paused.discard(node)
        await asyncio.gather(*(process.kill() for process in running))

    async def start_again(self, node: str) -> None:
        """Start what was killed (not what had ended by itself)."""
        killed, self._killed[node] = self._killed[node], []
        await asyncio.gather(*(process.restart() for process in killed))

    async def terminate(self, grace_s: float) -> None:
        """Ask all programs of all nodes to end; after `grace_s` they have no choice."""
        running = [process for node in self._started.values() for process in node]
        await asyncio.gather(*(process.terminate(grace_s) for process in running))

    def pause(self, node: str) -> None:
        """The node's programs stop in the middle of whatever they do."""
        self._paused.add(node)
        for process in self.of(node):
            process.pause()

    def resume(self, node: str) -> None:
        """The node's programs go on."""
        self._paused.discard(node)
        for process in self.of(node):
            process.resume()

    def fill_disk(self, node: str, free_bytes: int | None) -> None:
        """The node's programs can write no more (see `node_faults`); None: they can again."""
        running = self._running(node)
        if free_bytes is None:
            self._free_bytes.pop(node, None)
        else:
            self._free_bytes[node] = max(0, free_bytes)
        for process in running:
            node_faults.limit_files(process.pid, self._free_bytes.get(node))

    def skew_clock(self, node: str, offset_s: float) -> None:
        """Set the wall clock of the node's programs wrong by so much; 0: right again."""
        node_faults.set_clock(self.clock(node), offset_s)
        self._offset_s[node] = offset_s

    def clock(self, node: str) -> Path:
        """The file that says how wrong the node's clock is (see `muster.node.clock`)."""
        return self._rundir / f"{node}.clock"

    def condition(self, node: str) -> dict[str, Any]:
        """Whether programs run or are paused, and what is wrong with the node's disk and clock."""
        return {
            "running": any(process.returncode is None for process in self._started[node]),
            "paused": node in self._paused,
            "free_bytes": self._free_bytes.get(node),
            "offset_s": self._offset_s.get(node, 0.0),
        }
