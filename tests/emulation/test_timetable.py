"""Duty cycles and scheduled faults come back after a fault of their own, in virtual time."""

from __future__ import annotations

import asyncio
import logging

import pytest

from muster.emulation.scenario import Scenario
from muster.emulation.scenario_file import parse
from muster.emulation.timetable import Timetable
from muster.errors import MusterError
from muster.simulation.faults import Fault
from muster.simulation.virtual.event_loop import VirtualLoop

SCENARIO = parse(
    """
nodes = [{ name = "a", away = { fraction = 0.25, period_s = 20 } }, { name = "b" }]
links = [{ a = "a", b = "b" }]
events = [
  { at_s = 10, fault = "kill", node = "b" },
  { at_s = 30, fault = "restart", node = "b" },
  { at_s = 50, fault = "cut", a = "a", b = "b" },
]
""",
    "test",
    "test.toml",
)


class Stage:
    """Notes what is done, and fails as often as a test says."""

    def __init__(self, *, radio_fails: int = 0, fails: dict[str, Exception] | None = None) -> None:
        self.radio_fails, self.fails = radio_fails, fails or {}
        self.radio: list[tuple[float, bool]] = []
        self.faults: list[tuple[float, str]] = []

    async def set_away(self, node: str, away: bool) -> None:
        if self.radio_fails:
            self.radio_fails -= 1
            raise ValueError("no such socket")
        self.radio.append((asyncio.get_running_loop().time(), away))

    async def apply(self, fault: Fault) -> None:
        kind = type(fault).__name__
        if kind in self.fails:
            raise self.fails[kind]
        self.faults.append((asyncio.get_running_loop().time(), kind))


def play(scenario: Scenario, stage: Stage, seconds: float) -> None:
    async def main() -> None:
        timetable = Timetable(scenario, stage.set_away, stage.apply)
        timetable.start()
        await asyncio.sleep(seconds)
        await timetable.close()

    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
    left = asyncio.all_tasks(loop)
    asyncio.set_event_loop(None)
    loop.close()
    assert not left


def test_a_radio_whose_loop_failed_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(radio_fails=2)
    with caplog.at_level(logging.WARNING):
        play(SCENARIO, stage, 100.0)
    assert {away for _, away in stage.radio} == {True, False}
    assert stage.radio[-1][0] > 70.0
    assert "the duty cycle of a failed and starts again in 1 s: ValueError: no such socket" in caplog.text


def test_a_fault_that_cannot_happen_is_said_and_the_next_one_happens(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stage = Stage(fails={"Kill": MusterError("usage", "it cannot be killed"), "Restart": KeyError("b")})
    with caplog.at_level(logging.WARNING):
        play(SCENARIO, stage, 100.0)
    assert stage.faults == [(50.0, "Cut")]
    assert "it cannot be killed" in caplog.text
    assert "a scheduled fault failed: KeyError" in caplog.text
