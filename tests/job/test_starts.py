"""The number of a node's start grows over its lives, also when it lost its disk in one of them.

Heartbeats of the larger (start, count) replace others: a process that began with its predecessor's number
would not be heard, by those who know that one, before it has sent as many heartbeats.
"""

from __future__ import annotations

import asyncio
import random

from small_field import SmallField

from muster.simulation.virtual.event_loop import run

LONG_S = 500.0  # ten idle heartbeats


def test_the_start_after_a_lost_disk_is_kept() -> None:
    """The node goes on above its heartbeats from before, and the next process goes on above these."""

    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        started = []
        for loses_disk in (True, False, False):
            await asyncio.sleep(LONG_S)
            started.append(field.cores["a"].presence.incarnation.start)
            await field.cores["a"].close()
            if loses_disk:
                field.stores["a"].lose(random.Random(1))
            field.cores["a"] = field.restart("a")
            await field.cores["a"].start()
            began = field.cores["a"].presence.incarnation.start
            assert loses_disk or began > started[-1]
        assert started == sorted(set(started))
        await field.close()

    run(main(), until_s=36_000)
