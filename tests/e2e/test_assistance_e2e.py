"""A slow node with data is helped by one that has none; each goes on when the other one dies."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from play import LAN, ask, field, log, until, until_round

from muster.emulation.scenario_file import parse
from muster.simulation.faults import Kill, Restart
from small_fleet import SmallFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NODES = f"""
nodes = [
    {{ name = "alpha", slowdown = 8, policy = {{ share = "samples" }} }},
    {{ name = "bravo", data = {{ own_data = false }} }},
]
[[links]]
a = "alpha"
b = "bravo"
{LAN.replace(", ", chr(10))}
"""


async def at_work(
    fleet: SmallFleet, seen_by: str, job: str, coordinator: str, nodes: list[str], after: int
) -> bool:
    """Whether a commit after a round, by this coordinator, counts what these nodes trained on data of theirs;
    with none of them the helper alone trained, in the asker's place."""
    commits = (await log(fleet, seen_by, job)).commits
    return any(
        c.round > after
        and (c.coordinator, c.nodes, c.stand_ins) == (coordinator, nodes, [] if nodes else ["alpha"])
        for c in commits
    )


async def round_of(fleet: SmallFleet, name: str, job: str) -> int:
    return max(c.round for c in (await log(fleet, name, job)).commits)


def test_a_helper_without_data_trains_in_the_place_of_the_asker(tmp_path: Path) -> None:
    async def main() -> None:
        async with field(parse(NODES, "assistance", "assistance.toml")) as fleet:
            job = await ask(fleet, "alpha", rounds=4000, lr=0.1, steps=10, min_nodes=1, share="always")
            await until_round(fleet, "bravo", job, 1)
            await until("bravo helps", lambda: at_work(fleet, "alpha", job, "alpha", [], 0), 90)
            await fleet.net.apply(Kill("bravo"))
            last = await round_of(fleet, "alpha", job)

            async def alone() -> bool:
                return await at_work(fleet, "alpha", job, "alpha", ["alpha"], last)

            await until("alpha trains itself", alone, 120)
            await fleet.net.apply(Restart("bravo"))
            await until("bravo is back", lambda: at_work(fleet, "alpha", job, "alpha", [], last + 1), 120)
            await fleet.net.apply(Kill("alpha"))
            await until("bravo goes on", lambda: at_work(fleet, "bravo", job, "bravo", [], last), 120)

    asyncio.run(main())
