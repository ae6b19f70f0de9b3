"""Watches over the node's loops: says when one hangs, and answers systemd's watchdog as long as none does."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from muster.network.supervisor import LoopHealth, Pulse, Supervisor
from muster.node.event_log import EventLog
from muster.node.service.notify import notify, watchdog_s

LOOK_S = 5.0
LATE_LOOKS = 2  # in a row, and a loop hangs: after a suspension all are late for a moment


class HealthWatch:
    """Looks at all loops every few seconds."""

    def __init__(
        self,
        supervisor: Supervisor,
        log: EventLog,
        status: Callable[[], str],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """`status` says in one line what the node does, for `systemctl status`."""
        self._supervisor, self._log, self._environment = supervisor, log, environment
        self._status, self._said = status, ""
        self._late: dict[str, int] = {}  # looks at which a loop was late, in a row
        limit_s = watchdog_s(environment)
        self._look_s = LOOK_S if limit_s is None else min(LOOK_S, limit_s / 3)

    async def run(self, pulse: Pulse) -> None:
        """Until cancelled. The node is ready when this begins."""
        notify("READY=1", self._environment)
        while True:
            self.look()
            pulse.renew(self._look_s)
            await asyncio.sleep(self._look_s)

    def look(self) -> None:
        """One look; while a loop hangs the watchdog gets no answer, and systemd starts the node again."""
        late = {h.name: h for h in self._supervisor.health() if h.state == "late"}
        self._late = {name: self._late.get(name, 0) + 1 for name in late}
        hanging = [late[name] for name, looks in self._late.items() if looks >= LATE_LOOKS]
        for health in hanging:
            if self._late[health.name] == LATE_LOOKS:
                self._log.add("error", hangs(health))
        if not hanging:
            notify("WATCHDOG=1", self._environment)
        said = "; ".join(map(hangs, hanging)) or self._status()
        if said != self._said:
            self._said = said
            notify(f"STATUS={said}", self._environment)


def hangs(health: LoopHealth) -> str:
    """One sentence about a loop that does not go round any more."""
    return f"{health.name} hangs: it should go round every {health.period_s or 0:.0f} s and does not"
