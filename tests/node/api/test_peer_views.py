"""What is shown of others that come and go."""

from __future__ import annotations

import asyncio

from two_branches import Field

from muster.node.api.peer_views import peers
from muster.simulation.virtual.event_loop import run


def test_when_a_node_that_comes_and_goes_is_back_is_shown() -> None:
    async def scene() -> None:
        field = Field()
        for core in field.cores:
            await core.start()
        await asyncio.sleep(400)
        (before,) = (p for p in peers(field.alpha) if p.name == "bravo")
        assert (before.here, before.back_s) == (None, None)
        for _ in range(3):
            field.network.isolate(field.bravo.node)
            await asyncio.sleep(600)
            field.network.heal_all()
            await asyncio.sleep(300)
        field.network.isolate(field.bravo.node)
        await asyncio.sleep(200)
        (away,) = (p for p in peers(field.alpha) if p.name == "bravo")
        assert not away.reachable
        assert away.here is not None
        assert 0.3 < away.here < 0.5
        assert away.back_s is not None
        assert 350 < away.back_s < 480
        await field.close()

    run(scene(), 10_000)
