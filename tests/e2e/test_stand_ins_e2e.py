"""A real node shares digits and dies: the coordinator works in its place, then the next one does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from play import LAN, ask, field, log, until, until_round

from muster.emulation.scenario_file import parse
from muster.simulation.faults import Kill
from small_fleet import SmallFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NODES = f"""
nodes = [
    {{ name = "alpha" }},
    {{ name = "bravo" }},
    {{ name = "charlie", policy = {{ share = "samples" }} }},
]
[[groups]]
name = "all"
nodes = ["alpha", "bravo", "charlie"]
link = {{ {LAN} }}
"""


def blob_sizes(fleet: SmallFleet, name: str) -> list[int]:
    return [f.stat().st_size for f in (fleet.rundir / name / "blobs").rglob("*") if f.is_file()]


async def stood_in(fleet: SmallFleet, name: str, job: str, coordinator: str) -> bool:
    """Whether a commit by this coordinator has a stand-in for charlie, as a node knows it."""
    seen = await log(fleet, name, job)
    return any(c.stand_ins == ["charlie"] and c.coordinator == coordinator for c in seen.commits)


def test_real_nodes_stand_in_for_one_that_died(tmp_path: Path) -> None:
    async def main() -> None:
        async with field(parse(NODES, "stand-ins", "stand-ins.toml")) as fleet:
            job = await ask(
                fleet, "alpha", rounds=2000, lr=0.1, steps=4, min_nodes=1, share="always", share_bytes=3000
            )
            await until_round(fleet, "charlie", job, 1)

            async def held() -> bool:
                sizes = [s.bytes for s in await asyncio.to_thread(fleet.client("charlie").shared)]
                return bool(sizes) and all(
                    sizes[-1] in blob_sizes(fleet, name) for name in ("alpha", "bravo")
                )

            await until("alpha and bravo have charlie's samples", held, 90)
            await fleet.net.apply(Kill("charlie"))
            await until("alpha works in charlie's place", lambda: stood_in(fleet, "bravo", job, "alpha"), 90)
            said = (fleet.rundir / "alpha" / "output.log").read_text()
            assert "in the place of charlie" in said
            assert "charlie is away: its" in said
            await fleet.net.apply(Kill("alpha"))
            await until("bravo works in charlie's place", lambda: stood_in(fleet, "bravo", job, "bravo"), 120)
            snapshot = await fleet.snapshot("bravo")
            assert snapshot is not None
            view = next(j for j in snapshot.jobs if j.id == job)
            gave = {c.node: c for c in view.contributions}
            assert gave["charlie"].stood_in >= 2
            assert gave["charlie"].examples > 0

    asyncio.run(main())
