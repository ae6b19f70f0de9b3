"""The emulator behind the page: looked at twice a second, changed by clicks, through its control socket."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import msgspec

from muster.dashboard.emulated_links import LinkSettings, Pair
from muster.dashboard.http.requests import Drop, LinkParameters, LinkRequest
from muster.dashboard.presets import PRESETS, SCENARIO
from muster.dashboard.state_merger import StateMerger
from muster.emulation.client import EmulationClient
from muster.errors import MusterError
from muster.node.api import async_client
from muster.node.api.rows.changes import Row
from muster.node.api.rows.schema import DropRow
from muster.simulation import faults
from muster.simulation.faults import Fault

LOOK_S = 0.5
RETRY_S = 1.0
SELF_TIMEOUT_S = 1.0
SELVES_A_LOOK = 8  # nodes asked about themselves at each look, in turn


class EmulatedNetwork:
    """`rundir` is the emulation's: its control socket, and the nodes' homes by their names."""

    def __init__(self, merger: StateMerger, rundir: Path) -> None:
        self._merger, self._rundir = merger, rundir
        self._path = rundir / "control.sock"
        self._first: dict[Pair, Row] = {}  # parameters by the scenario
        self._preset: dict[Pair, str] = {}
        self._drops: dict[Pair, tuple[Drop, asyncio.Task[None]]] = {}
        self._turn = 0
        self._restarts: set[asyncio.Task[None]] = set()

    # ---- looking ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                with contextlib.suppress(MusterError, OSError, ValueError):
                    async with EmulationClient(self._path) as control:
                        scenario = await control.ask("scenario")
                        self._first = {(one["a"], one["b"]): one["params"] for one in scenario["links"]}
                        while True:
                            await self._look(control)
                            await asyncio.sleep(LOOK_S)
                await asyncio.sleep(RETRY_S)
        finally:
            for _, task in self._drops.values():
                task.cancel()

    async def _look(self, control: EmulationClient) -> None:
        conditions = (await control.ask("nodes"))["nodes"]
        self._merger.conditions(conditions)
        self._merger.links((await control.ask("links"))["links"], self._settings)
        alive = [c["name"] for c in conditions if c["running"] and not c["paused"]]
        turn = [alive[(self._turn + i) % len(alive)] for i in range(min(SELVES_A_LOOK, len(alive)))]
        self._turn += SELVES_A_LOOK
        await asyncio.gather(*(self._ask_self(name) for name in turn))
        for condition in conditions:
            if not condition["running"]:
                self._merger.report(condition["name"], None)

    async def _ask_self(self, name: str) -> None:
        try:
            report = await async_client.ask(self._rundir / name, "self", SELF_TIMEOUT_S)
        except MusterError:
            report = None
        self._merger.report(name, report)

    def _settings(self, pair: Pair) -> LinkSettings:
        drop = self._drops.get(pair)
        row = DropRow(drop[0].every_s, drop[0].for_s, drop[0].first_s) if drop is not None else None
        return LinkSettings(self._preset.get(pair), row)

    # ---- changing -----------------------------------------------------------------------------------

    async def _ask(self, op: str, **arguments: Any) -> None:
        async with EmulationClient(self._path) as control:
            await control.ask(op, **arguments)

    async def set_link(self, request: LinkRequest) -> None:
        """Parameters, or a preset. Raises MusterError."""
        there, back = _given(request.there), _given(request.back)
        pair = (request.a, request.b)
        if pair not in self._first:
            raise MusterError("scenario", f"there is no link {request.a} - {request.b} in this scenario")
        drop = request.drop
        if request.preset == SCENARIO:
            there, back, drop = self._first[pair], self._first[pair[::-1]], None
        elif request.preset is not None:
            preset = next((p for p in PRESETS if p.id == request.preset), None)
            if preset is None:
                known = ", ".join((SCENARIO, *(p.id for p in PRESETS)))
                raise MusterError("usage", f"there is no preset {request.preset!r}; there are {known}")
            there, back, drop = _whole(preset.there), _whole(preset.back), preset.drop
        for params, (a, b) in ((there, pair), (back, pair[::-1])):
            if params:
                await self._ask("set", a=a, b=b, params=params, both=False)
        if there or back:
            for ends in (pair, pair[::-1]):
                self._preset.pop(ends, None)
                if request.preset is not None:
                    self._preset[ends] = request.preset
        if not isinstance(drop, msgspec.UnsetType):
            self._set_drop(pair, drop)

    def _set_drop(self, pair: Pair, drop: Drop | None) -> None:
        for ends in (pair, pair[::-1]):
            if (old := self._drops.pop(ends, None)) is not None:
                old[1].cancel()
        if drop is not None:
            task = asyncio.ensure_future(self._dropping(pair, drop))
            self._drops[pair] = self._drops[pair[::-1]] = (drop, task)

    async def _dropping(self, pair: Pair, drop: Drop) -> None:
        await asyncio.sleep(drop.first_s)
        while True:
            with contextlib.suppress(MusterError):
                await self.apply(faults.Cut(*pair))
            try:
                await asyncio.sleep(min(drop.for_s, drop.every_s))
            finally:
                with contextlib.suppress(MusterError):
                    await self.apply(faults.Heal(*pair))
            await asyncio.sleep(max(0.0, drop.every_s - drop.for_s))

    async def apply(self, fault: Fault) -> None:
        """Make it happen. A restart that is to wait goes on by itself. Raises MusterError."""
        request = self._ask("fault", fault=faults.to_dict(fault))
        if isinstance(fault, faults.Restart) and fault.after_s > 0:
            task = asyncio.ensure_future(self._later(request))
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)
            return
        await request

    async def _later(self, request: Any) -> None:
        try:
            await request
        except MusterError as error:
            self._merger.feed.add_line("error", error.sentence)


def _given(parameters: LinkParameters) -> Row:
    return {key: value for key, value in msgspec.to_builtins(parameters).items() if value is not None}


def _whole(parameters: LinkParameters) -> Row:
    """A preset is a link of its own: no bursts, queue as usual."""
    return {**_given(parameters), "burst": None, "queue_ms": None, "queue_bytes": None}
