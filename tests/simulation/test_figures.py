"""A coordinator that trains as well finds time for figures of its heads."""

from __future__ import annotations

import asyncio

from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.lives import LivesLoop
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World

LINK = PathParams(rate_bytes_s=125_000, delay_s=0.01)


def test_rounds_of_a_third_of_a_second_have_figures() -> None:
    """This node's own part is done before the others' updates come: that is when its trainer is free."""
    job = JobSpec("a", 2.0, 60, None, 6, 0.05, 4.0, 2, "quant8", "quant8")
    spec = WorldSpec(
        7, tuple(MachineSpec(n, 100, 0.05) for n in "ab"), (WireSpec("b", "a", LINK),), TaskSpec(), (job,)
    )

    async def main() -> list[str]:
        world = World(spec)
        for machine in world.machines.values():
            await machine.start()
        await asyncio.sleep(2.0)
        assert await world.ask(job)
        await asyncio.sleep(15.0)
        await world.close()
        return [record.KIND for _, record in world.archive.records.values()]

    loop = LivesLoop(1000.0)
    asyncio.set_event_loop(loop)
    kinds = loop.run_until_complete(main())
    asyncio.set_event_loop(None)
    loop.close()
    assert loop.faults == []
    assert kinds.count("commit") > 30
    assert kinds.count("measurement") > 0.3 * kinds.count("commit")
