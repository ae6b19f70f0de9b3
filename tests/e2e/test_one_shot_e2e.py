"""A job of one contact on real nodes: samples go to one place and one commit comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import play
import pytest
from kept import counted_once, kept, one_head
from play import ask, end_all, mesh, shown_if_it_fails, until, until_one_end

from muster.simulation.faults import Kill, Restart
from patience import patient_s
from small_fleet import SmallFleet, small_fleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAMES = ("alpha", "bravo", "charlie")
SLOWER = 6.0  # more than what else runs on this machine makes of a measured speed
THIRDS = Path(__file__).parent / "thirds.py"


@asynccontextmanager
async def fleet_of(*sharers: str, fastest: str | None = None) -> AsyncIterator[SmallFleet]:
    """Three nodes, of which these share samples. The fastest of a job trains on the samples of all."""
    async with small_fleet(mesh(NAMES), str(THIRDS)) as fleet:
        for number, name in enumerate(NAMES):
            share = "samples" if name in sharers else "none"
            slowdown = 1.0 if fastest in (None, name) else SLOWER
            fleet.config = {"trainer": {"niceness": 0, "slowdown": slowdown}, "policy": {"share": share}}
            await fleet.spawn(number)
        with shown_if_it_fails(fleet):
            for name in NAMES:
                await fleet.until_linked(name, 2, patient_s(play.START_S))
            yield fleet


def test_one_commit_of_the_samples_of_all_and_a_node_that_shares_nothing_has_it() -> None:
    async def main() -> None:
        async with fleet_of("bravo", "alpha") as fleet:
            job = await ask(fleet, "alpha", one_shot=600, share_bytes=2000, lr=0.1, batch=32)
            await until_one_end(fleet, NAMES, job)
            log = await play.log(fleet, "charlie", job)
            assert [c.round for c in log.commits if c.round] == [1]
            seen = await play.view(fleet, "alpha", job)
            assert seen is not None
            assert seen.accuracy is not None
            assert 0.55 < seen.accuracy < 0.72  # nobody shows it a third of the classes
            await end_all(fleet)
            with kept(fleet.rundir, NAMES, job) as disks:
                head = one_head(disks)
                counted_once(disks, head)

    asyncio.run(main())


def test_the_asker_is_killed_while_it_trains_and_comes_back() -> None:
    async def main() -> None:
        async with fleet_of(*NAMES, fastest="alpha") as fleet:
            job = await ask(fleet, "alpha", one_shot=600, share_bytes=2000, lr=0.1, batch=32)

            async def trains() -> bool:
                seen = await fleet.snapshot("alpha")
                return seen is not None and seen.node.state == "training"

            await until("alpha trains", trains, 60.0)
            await fleet.net.apply(Kill("alpha"))
            await until_one_end(fleet, NAMES[1:], job)
            await fleet.net.apply(Restart("alpha"))
            await until_one_end(fleet, NAMES, job)
            log = await play.log(fleet, "charlie", job)
            assert max(c.round for c in log.commits) == 1
            assert log.job.accuracy is not None
            assert log.job.accuracy > 0.5  # bravo and charlie have six of the ten classes
            await end_all(fleet)
            with kept(fleet.rundir, NAMES, job) as disks:
                counted_once(disks, one_head(disks))

    asyncio.run(main())
