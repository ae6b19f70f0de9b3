"""Keeps one task's server running, whichever daemon started it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from muster import __version__
from muster.network.supervisor import Pulse, pause_s
from muster.serving.report import ServerReport
from muster.serving.settings import ServeConfig, settings_hash
from muster.storage.offload import Offload

LOOK_S = 1.0
UP_S = 30.0  # without a report since its start, or without a new one: it hangs
WELL_S = 120.0  # that a server has to run before its faults are forgotten
END_S = 5.0


class Processes(Protocol):
    """`processes.ServerProcesses`."""

    def running(self) -> ServerReport | None: ...

    def start(self) -> None: ...

    def beginning(self) -> bool: ...

    def taken_away(self) -> str | None: ...

    def end(self, report: ServerReport, grace_s: float) -> None: ...


class ServerKeeper:
    """One task's server, as the daemon sees it."""

    def __init__(
        self,
        task: str,
        config: ServeConfig,
        processes: Processes,
        offload: Offload,
        say: Callable[[str], None],
    ) -> None:
        self.task, self._processes, self._offload, self._say = task, processes, offload, say
        self._settings = settings_hash(config)
        self._known: tuple[int, int] | None = None  # process and start of the one that runs
        self._written_t, self._news_s = 0.0, 0.0  # its last report, and when that was seen
        self._faults, self._again_s = 0, 0.0
        self._one = asyncio.Lock()  # a look must not start again what `close` has just ended
        self._closed = False

    async def run(self, pulse: Pulse) -> None:
        """Look once a second, until cancelled."""
        while True:
            pulse.renew(LOOK_S + 2 * END_S)
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Do what is due. Raises OSError when a process cannot be started."""
        async with self._one:
            if not self._closed:
                await self._look()

    async def _look(self) -> None:
        now_s = asyncio.get_running_loop().time()
        report = await self._offload(self._processes.running)
        if report is None:
            await self._begin(now_s)
            return
        if self._known != (report.pid, report.start):
            self._known, self._news_s = (report.pid, report.start), now_s
            self._say(f"{self.task} is served at {report.url} (process {report.pid})")
        if report.written_t != self._written_t:
            self._written_t, self._news_s = report.written_t, now_s
        if report.by_hand:
            return  # whoever started it will end it
        if (why := self._outdated(report)) is not None:
            self._say(f"the server of {self.task} is replaced: {why}")
        elif now_s > self._news_s + UP_S:
            self._say(f"the server of {self.task} hangs and is replaced")
        else:
            if self._faults and now_s > self._again_s + WELL_S:
                self._faults = 0
            return
        await self._offload(self._processes.end, report, END_S)
        await self._offload(self._processes.taken_away)
        self._known = None
        await self._begin(now_s)

    async def close(self) -> None:
        """End the server: the node is stopped."""
        async with self._one:
            self._closed = True
            report = await self._offload(self._processes.running)
            if report is not None and not report.by_hand:
                await self._offload(self._processes.end, report, END_S)
            await self._offload(self._processes.taken_away)

    def _outdated(self, report: ServerReport) -> str | None:
        if report.muster != __version__:
            return f"it is of Muster {report.muster}"
        if report.settings != self._settings:
            return "it has other settings than node.toml"
        return None

    async def _begin(self, now_s: float) -> None:
        """No server runs: start one, unless that was done, or failed a short while ago."""
        if await self._offload(self._processes.beginning):
            if now_s <= self._news_s + UP_S:
                return
            self._say(f"the server of {self.task} did not come up in {UP_S:g} s")
        why = await self._offload(self._processes.taken_away)
        if why is None and self._known is not None:
            why = "its process is gone"  # an earlier daemon had started it
        self._known = None
        if why is not None:
            self._faults += 1
            wait_s = 0.0 if self._faults == 1 else pause_s(self._faults - 1)
            self._again_s = now_s + wait_s
            then = f"it starts again in {wait_s:g} s" if wait_s else "it starts again"
            self._say(f"the server of {self.task} ended ({why}): {then}")
        if now_s >= self._again_s:
            await self._offload(self._processes.start)
            self._news_s = now_s
