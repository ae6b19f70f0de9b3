"""Each loop over a trainer has a heartbeat of its own, and its fault ends the session as a whole."""

from __future__ import annotations

import asyncio

import pytest
from small_field import SmallField

from muster.job.coordinator.evaluation import HeadEvaluator
from muster.network.supervisor import Pulse, Supervisor
from muster.protocol.ids import short
from muster.protocol.parts import StopRule
from muster.simulation.virtual.event_loop import VirtualLoop, run

PARTS = {"lending the trainer of", "training for", "evaluating heads of", "estimating contributions to"}


def names(supervisor: Supervisor) -> set[str]:
    return {health.name for health in supervisor.health()}


def test_the_loops_of_a_session_are_seen_while_it_lasts() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=6))
        supervisor = field.cores["a"].supervisor
        expected = {f"{part} job {short(job)}" for part in (*PARTS, "making the start of")}
        assert await field.until(lambda: expected <= names(supervisor), 30.0)
        health = {h.name: h for h in supervisor.health()}
        assert all(health[name].round_s is not None for name in expected)
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 120.0)
        await asyncio.sleep(5.0)
        assert not expected & names(supervisor)
        await field.close()

    run(main(), until_s=3600)


def test_a_session_ends_as_a_whole_and_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The evaluation fails in a way that nobody expects: the loop that works for the job starts again."""
    real, failed = HeadEvaluator.run, []

    async def once_wrong(self: HeadEvaluator, participant: object, pulse: Pulse) -> None:
        if not failed:
            failed.append(True)
            raise ValueError("unheard of")
        await real(self, participant, pulse)  # type: ignore[arg-type]

    monkeypatch.setattr(HeadEvaluator, "run", once_wrong)

    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a")
        assert await field.until(lambda: field.runner("a", job).state() == "finished", 120.0)
        assert any("working for job" in text and "unheard of" in text for text in field.said("a"))
        await field.close()

    loop = VirtualLoop(3600)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
    asyncio.set_event_loop(None)
    loop.close()
    assert [repr(fault) for fault in loop.faults] == ["ValueError('unheard of')"]
