"""The end of a job is an event, once on each node: who follows it waits for that."""

from __future__ import annotations

import asyncio

from small_field import SmallField

from muster.node.core import Core
from muster.protocol.ids import JobId
from muster.protocol.parts import StopRule
from muster.simulation.virtual.event_loop import run


def ends(core: Core, job: JobId) -> list[str]:
    return [event.text for event in core.log.since(0) if event.kind == "end" and event.job == job.hex()]


def test_the_end_is_said_once_on_each_node() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=2))
        await field.until(lambda: all(ends(core, job) for core in field.cores.values()), 60.0)
        await asyncio.sleep(60.0)
        for core in field.cores.values():
            assert ends(core, job) == ["the job is over: 2 rounds done"]
        await field.cores.pop("b").close()
        again = field.restart("b")
        await again.start()
        await asyncio.sleep(60.0)
        assert not ends(again, job)  # it was over when it was loaded
        await again.close()
        await field.close()

    run(main(), until_s=3600)
