"""How nodes come and go is known to the next process of a node, too."""

from __future__ import annotations

import asyncio

from small_field import SmallField

from muster.simulation.virtual.event_loop import run


def test_spells_outlive_a_process_that_was_closed_and_one_that_was_killed() -> None:
    async def scene() -> None:
        field = SmallField("ab")
        await field.start()
        a, b = field.cores["a"], field.cores["b"]
        for away_s in (300.0, 400.0):
            field.network.isolate(b.node)
            await asyncio.sleep(away_s)
            field.network.heal_all()
            await asyncio.sleep(200.0)
        known = a.presence.spells(b.node).away_s
        assert len(known) == 2
        assert a.store.state("spells"), "noted while it runs"
        await a.close()
        field.cores["a"] = a = field.restart("a")
        assert a.presence.spells(b.node).away_s == known
        await a.start()
        await asyncio.sleep(100.0)
        assert a.presence.spells(b.node).away_s == known
        await field.close()

    run(scene(), 10_000)
