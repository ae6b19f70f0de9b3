"""A coordinator decides nothing until it has read what came while its process stood still."""

from __future__ import annotations

import asyncio

from small_field import SmallField

from muster.protocol.parts import StopRule
from muster.simulation.virtual.event_loop import run


def test_no_round_is_closed_before_the_queue_is_read() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=1000))
        await field.until(lambda: field.round("a", job) >= 3, 60.0)
        attention = field.cores["a"].presence.attention
        attention._settled_s = asyncio.get_running_loop().time() + 3.0  # as after a stall
        await asyncio.sleep(0.1)
        before = field.round("a", job)
        await asyncio.sleep(2.8)
        assert field.round("a", job) == before
        assert await field.until(lambda: field.round("a", job) > before, 5.0)
        await field.close()

    run(main(), until_s=3600)


def test_a_process_that_stands_still_notices() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        attention = field.cores["a"].presence.attention
        assert attention._ticked_s is not None
        attention._ticked_s -= 60.0  # the next tick is a minute late
        assert field.cores["a"].presence.lively(field.cores["b"].node)
        assert attention.settling_s() > 0.0
        await field.close()

    run(main(), until_s=3600)
