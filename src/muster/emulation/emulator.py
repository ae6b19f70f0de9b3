"""An emulated network on this machine: namespaces, the radio between them, programs in them, faults.

    async with Emulation(load("field-8"), rundir) as net:
        process = await net.spawn("alpha", ["muster", "node"], stdout=rundir / "alpha.log")
        await net.apply(Cut("delta", "echo"))

What is started here does not outlive the `async with`, nor this process, however it ends: programs die with
their parent (a signal from the kernel), and the process that carries the frames ends whatever is left in the
namespaces when its socket to this process closes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import msgspec

from muster.emulation.node_process import NodeProcess, Output
from muster.emulation.programs import NodePrograms
from muster.emulation.radio.bursts import BadSpells
from muster.emulation.radio.carrier import SETUP_S, Carrier
from muster.emulation.radio.model import LinkCount, LinkParams
from muster.emulation.radio.namespaces import address_of
from muster.emulation.requests import control_server
from muster.emulation.scenario import Scenario
from muster.emulation.timetable import Timetable
from muster.errors import MusterError
from muster.node.clock import CLOCK_FILE
from muster.serving.paths import WHILE
from muster.simulation import faults
from muster.simulation.faults import Fault, Pair

GRACE_S = 5.0  # for programs to end by themselves


class Emulation:
    """A scenario, running. `rundir` must exist; it gets the control socket (`control.sock`)."""

    _CARRIER_MODULE: ClassVar[str] = "muster.emulation.radio.forwarder"
    _SETUP_ERROR: ClassVar[str] = "no_namespaces"

    def __init__(self, scenario: Scenario, rundir: Path, *, grace_s: float = GRACE_S) -> None:
        self.scenario = scenario
        self.rundir = rundir
        self.control_path = rundir / "control.sock"
        self._grace_s = grace_s
        self._numbers = {name: number for number, name in enumerate(scenario.names())}
        self._params: dict[Pair, LinkParams] = scenario.directions()
        self._programs = NodePrograms(tuple(self._numbers), rundir.absolute(), self._namespace_arguments)
        self._away: set[str] = set()
        self._timetable = Timetable(scenario, self.set_away, self.apply)
        self._carrier = Carrier()
        self._fds: list[int] = []
        self._user_namespace = False
        self._control = control_server(self.control_path, self)

    # coming and going

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(asyncio.ensure_future(self._stop()))

    async def _start(self) -> None:
        await self._carrier.start(self._CARRIER_MODULE)
        ready = await self._carrier.ask(
            {
                "nodes": len(self._numbers),
                "seed": self.scenario.seed,
                "links": self._plain(self._params),
                "leftovers": [str(self.control_path.absolute())],
                **self._setup_extra(),
            },
            timeout_s=SETUP_S,
            code=self._SETUP_ERROR,
        )
        self._fds, self._user_namespace = ready["fds"], ready["user_namespace"]
        await self._control.start()
        self._timetable.start()

    async def _stop(self) -> None:
        await self._timetable.close()
        await self._control.close()
        await self._programs.terminate(self._grace_s)
        await self._carrier.close()

    def _plain(self, links: Mapping[Pair, LinkParams]) -> list[list[Any]]:
        return [
            [self._numbers[a], self._numbers[b], msgspec.to_builtins(params)]
            for (a, b), params in links.items()
        ]

    # what `LoopbackEmulation` does differently

    def _setup_extra(self) -> dict[str, object]:
        return {}

    def _namespace_arguments(self, node: str) -> list[str]:
        """Where `enter` finds the node's namespace: a process, its descriptor, a user namespace or not."""
        return [str(self._carrier.pid), str(self._fds[self._number(node)]), str(int(self._user_namespace))]

    def _environment(self, number: int, env: Mapping[str, str] | None) -> dict[str, str]:
        name = self.scenario.names()[number]
        own = {CLOCK_FILE: str(self._programs.clock(name)), WHILE: str(os.getpid())}
        return {**(os.environ if env is None else env), **own}

    # programs

    async def spawn(
        self,
        node: str,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdout: Output = None,
        cwd: Path | None = None,
    ) -> NodeProcess:
        """Start a program on a node, in a session of its own: Ctrl-C here does not reach it.

        `env` is its whole environment (None: this process's); a `stdout` that is a path is appended to.
        The handle is kept, so that `kill`, `pause` and `restart` by the node's name find it.
        """
        number = self._number(node)
        return await self._programs.spawn(node, argv, self._environment(number, env), stdout, cwd)

    def processes(self, node: str) -> list[NodeProcess]:
        """What was started on a node and runs, or was killed and can be restarted, in order."""
        self._number(node)
        return self._programs.of(node)

    async def kill(self, node: str) -> None:
        """Everything that runs on the node ends at once, whoever started it."""
        number = self._number(node)
        await self._programs.kill(node)
        await self._carrier.ask({"do": "sweep", "node": number})

    async def restart(self, node: str) -> None:
        """Kill what runs on the node and start again what was killed (not what had ended by itself)."""
        await self.kill(node)
        await self._programs.start_again(node)

    def condition(self, node: str) -> dict[str, Any]:
        """How a node and its programs are, as the control socket shows it."""
        return {
            "name": node,
            "address": self.address(node),
            "away": self.is_away(node),
            **self._programs.condition(node),
            "slowdown": self.scenario.node(node).slowdown,
        }

    # the network

    def address(self, node: str) -> str:
        """The IPv4 address that the node listens on."""
        return address_of(self._number(node))

    def neighbours(self, node: str) -> list[str]:
        """Addresses at which this node reaches those that it has a link with, up or not."""
        return [address_of(self._numbers[name]) for name in self._linked(node)]

    def _linked(self, node: str) -> list[str]:
        self._number(node)
        return [name for name in self._numbers if (node, name) in self._params]

    def is_away(self, node: str) -> bool:
        """Whether the node's radio is off."""
        self._number(node)
        return node in self._away

    def params(self) -> dict[Pair, LinkParams]:
        """What every direction is set to now."""
        return dict(self._params)

    async def set_link(self, a: str, b: str, params: LinkParams, *, both: bool = True) -> None:
        """Give a link (one direction: `both` false) these parameters; makes it if there is none."""
        self._number(a)
        self._number(b)
        if a == b:
            raise MusterError("scenario", f"{a!r} cannot be linked to itself")
        await self._set(dict.fromkeys(((a, b), (b, a))[: 2 if both else 1], params))

    async def apply(self, fault: Fault) -> None:
        """Make a fault happen. Raises MusterError scenario (unknown node) or usage (not possible)."""
        for name in faults.names_in(fault):
            self._number(name)
        match fault:
            case faults.Leave(node):
                await self.set_away(node, True)
            case faults.Return(node):
                await self.set_away(node, False)
            case faults.Kill(node):
                await self.kill(node)
            case faults.Pause(node):
                self._programs.pause(node)
            case faults.Resume(node):
                self._programs.resume(node)
            case faults.Restart(node, after_s):
                await self.kill(node)
                await asyncio.sleep(after_s)
                await self.restart(node)
            case faults.FillDisk(node, free_bytes):
                self._programs.fill_disk(node, free_bytes)
            case faults.SkewClock(node, offset_s):
                self._programs.skew_clock(node, offset_s)
            case _:
                changes = faults.link_changes(fault, self._params)
                await self._set(
                    {
                        pair: msgspec.structs.replace(self._params[pair], **change)
                        for pair, change in changes.items()
                    }
                )

    async def set_away(self, node: str, away: bool) -> None:
        """Switch a node's radio off or on; its programs go on."""
        number = self._number(node)
        (self._away.add if away else self._away.discard)(node)
        await self._carrier.ask({"do": "away", "node": number, "away": away})

    async def counters(self) -> dict[Pair, LinkCount]:
        """What each direction has carried since the start: bytes on the wire, Ethernet headers included."""
        names = self.scenario.names()
        answer = await self._carrier.ask({"do": "links"})
        return {
            (names[link["a"]], names[link["b"]]): msgspec.convert(link["count"], LinkCount)
            for link in answer["links"]
        }

    async def bad_spells(self, since_s: float = 0.0) -> dict[Pair, BadSpells]:
        """What the bursts did on each direction that has them, with the spells that ended after `since_s`.

        Times are the running loop's (the monotonic clock).
        """
        names = self.scenario.names()
        answer = await self._carrier.ask({"do": "spells", "since_s": since_s})
        return {(names[a], names[b]): msgspec.convert(raw, BadSpells) for a, b, raw in answer["spells"]}

    async def missed_frames(self) -> dict[str, int]:
        """Frames that a node sent faster than this machine could emulate: not 0 means the figures are off."""
        answer = await self._carrier.ask({"do": "links"})
        return dict(zip(self.scenario.names(), answer["missed"], strict=True))

    async def _set(self, links: dict[Pair, LinkParams]) -> None:
        await self._carrier.ask({"do": "set", "links": self._plain(links)}, code="usage")
        self._params.update(links)

    def _number(self, node: str) -> int:
        if node not in self._numbers:
            there = ", ".join(self._numbers)
            raise MusterError("scenario", f"there is no node {node!r} in this scenario; there are {there}")
        return self._numbers[node]

    def elapsed_s(self) -> float:
        """Since the network came up; the schedule and duty cycles count from there."""
        return self._timetable.elapsed_s()
