"""What happens by itself in an emulation: radios that go off and on, and scheduled faults.

Each is a loop of the supervisor: one that fails is said and starts again, at the event that it stood before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from muster.emulation.scenario import Scenario
from muster.errors import MusterError
from muster.network.supervisor import Pulse, Supervisor
from muster.simulation.faults import Fault, to_dict

_log = logging.getLogger(__name__)


class Timetable:
    """Follows a scenario's duty cycles and schedule, from `start` on."""

    def __init__(
        self,
        scenario: Scenario,
        set_away: Callable[[str, bool], Awaitable[None]],
        apply: Callable[[Fault], Awaitable[None]],
    ) -> None:
        self._scenario, self._set_away, self._apply = scenario, set_away, apply
        self._supervisor = Supervisor(lambda sentence, job: _log.warning("%s", sentence))
        self._start_s = 0.0
        self._begun = 0  # events of the schedule

    def start(self) -> None:
        self._start_s = asyncio.get_running_loop().time()
        for node in self._scenario.nodes:
            if node.away is not None and node.away.fraction > 0:
                self._supervisor.keep(f"the duty cycle of {node.name}", partial(self._duty, node.name))
        if self._scenario.events:
            self._supervisor.keep("the schedule of faults", self._schedule)

    async def close(self) -> None:
        self._supervisor.ending()
        await self._supervisor.close()

    def elapsed_s(self) -> float:
        """Since the network came up; the schedule and duty cycles count from there."""
        return asyncio.get_running_loop().time() - self._start_s

    async def _duty(self, name: str, pulse: Pulse) -> None:
        away = self._scenario.node(name).away
        assert away is not None
        while True:
            elapsed_s = self.elapsed_s() + 1e-6  # past the instant of the change itself
            await self._set_away(name, away.away_at(elapsed_s))
            pause_s = away.next_change_s(elapsed_s)
            pulse.renew(pause_s)
            await asyncio.sleep(pause_s)

    async def _schedule(self, pulse: Pulse) -> None:
        for event in self._scenario.events[self._begun :]:
            pause_s = max(0.0, event.at_s - self.elapsed_s())
            pulse.renew(pause_s)
            await asyncio.sleep(pause_s)
            self._begun += 1
            self._supervisor.once("a scheduled fault", self._happen(event.fault))  # a restart takes its time

    async def _happen(self, fault: Fault) -> None:
        try:
            await self._apply(fault)
        except MusterError as error:
            _log.warning("the scheduled fault %s did not happen: %s", to_dict(fault), error.sentence)
