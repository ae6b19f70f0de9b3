"""The emulated network as a demo needs it, in namespaces or, where these cannot be had, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from muster.emulation.emulator import Emulation
from muster.emulation.loopback import LoopbackEmulation, choose
from muster.emulation.scenario import Scenario
from muster.simulation.faults import Fault

PORT = 7447

Pair = tuple[str, str]


class DemoNetwork:
    """Names in, endpoints and counters out."""

    def __init__(self, net: Emulation) -> None:
        self._net = net
        self.kind = "emulated on loopback" if isinstance(net, LoopbackEmulation) else "emulated in namespaces"

    def listen(self, name: str) -> str:
        """Where the node listens, HOST:PORT."""
        return f"{self._net.address(name)}:{PORT}"

    def endpoint(self, name: str, other: str) -> str:
        """Where node `name` reaches its neighbour `other`, HOST:PORT."""
        addresses = dict(zip(self._net.scenario.neighbours(name), self._net.neighbours(name), strict=True))
        return f"{addresses[other]}:{PORT}"

    async def spawn(self, name: str, argv: Sequence[str], env: Mapping[str, str], stdout: Path) -> None:
        """Start a program on a node; its output is appended to `stdout`."""
        await self._net.spawn(name, argv, env=env, stdout=stdout)

    async def apply(self, fault: Fault) -> None:
        """Make a fault happen."""
        await self._net.apply(fault)

    def is_away(self, name: str) -> bool:
        """Whether the node's radio is off."""
        return self._net.is_away(name)

    def ended(self, name: str) -> bool:
        """Whether the node's process was started and has ended."""
        started = self._net.processes(name)
        return bool(started) and started[-1].returncode is not None

    def down(self) -> frozenset[Pair]:
        """Directions that are switched off."""
        return frozenset(pair for pair, params in self._net.params().items() if not params.up)

    async def bytes(self) -> dict[Pair, int]:
        """What each direction's sender has sent since the start, headers included."""
        return {pair: count.bytes for pair, count in (await self._net.counters()).items()}

    async def missed(self) -> dict[str, int]:
        """Of each node that sent faster than this machine could emulate, how many frames were lost so."""
        return {name: count for name, count in (await self._net.missed_frames()).items() if count}


@contextlib.asynccontextmanager
async def open_network(
    scenario: Scenario, rundir: Path, say: Callable[[str], None]
) -> AsyncIterator[DemoNetwork]:
    """The network of a scenario, up; says in one line when it is not in namespaces."""
    net, sentence = await asyncio.to_thread(choose, scenario, rundir)
    if sentence is not None:
        say(sentence)
    async with net:
        yield DemoNetwork(net)
