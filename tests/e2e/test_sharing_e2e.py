"""Real nodes share real digits: the owners decide, the coordinator gets them, the end deletes them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from play import LAN, ask, field, until, until_one_end, until_round

from muster.cli.commands.shared import shared
from muster.coresets.coding.codec import decode
from muster.coresets.spaces import default_space
from muster.emulation.scenario_file import parse
from muster.learning.digits import Digits
from muster.node.api.snapshot import SharedView
from small_fleet import SmallFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NODES = f"""
nodes = [
    {{ name = "alpha" }},
    {{ name = "bravo", policy = {{ share = "samples", share_classes = [0, 1, 2, 3, 4] }} }},
    {{ name = "charlie", policy = {{ share = "means" }} }},
]
[[groups]]
name = "all"
nodes = ["alpha", "bravo", "charlie"]
link = {{ {LAN} }}
"""


def blobs(fleet: SmallFleet, name: str) -> dict[str, bytes]:
    """By the beginning of its id what a node keeps as blobs."""
    files = (f for f in (fleet.rundir / name / "blobs").rglob("*") if f.is_file())
    return {f.name: f.read_bytes() for f in files}


async def shares(fleet: SmallFleet, name: str) -> list[SharedView]:
    return await asyncio.to_thread(fleet.client(name).shared)


def test_real_nodes_share_what_their_owners_allow(tmp_path: Path) -> None:
    async def main() -> None:
        async with field(parse(NODES, "sharing", "sharing.toml")) as fleet:
            quiet = await ask(fleet, "alpha", rounds=1, lr=0.1, steps=2, min_nodes=3)
            await until_one_end(fleet, ("alpha", "bravo", "charlie"), quiet)
            assert not await shares(fleet, "bravo")

            asked = {"share": "always", "share_bytes": 3000}
            job = await ask(fleet, "alpha", rounds=2000, lr=0.1, steps=4, min_nodes=3, **asked)
            await until_round(fleet, "alpha", job, 1)

            async def both_there() -> bool:
                return bool(await shares(fleet, "bravo")) and bool(await shares(fleet, "charlie"))

            await until("bravo and charlie share", both_there, 60)
            assert not await shares(fleet, "alpha")
            [of_bravo], [of_charlie] = await shares(fleet, "bravo"), await shares(fleet, "charlie")
            assert (of_bravo.job, of_bravo.asker, of_charlie.kind) == (job, "alpha", "means")
            assert 0 < of_bravo.bytes <= 3000
            assert of_bravo.at_s is not None

            async def held() -> bool:
                lengths = [len(data) for data in blobs(fleet, "alpha").values()]
                return of_bravo.bytes in lengths and of_charlie.bytes in lengths

            await until("alpha has the samples of both", held, 60)
            x, y = Digits(part=0, parts=1).training_data()
            space = default_space(x, y, 10)
            own = {data for name, data in blobs(fleet, "bravo").items() if len(data) == of_bravo.bytes}
            theirs = {d for d in blobs(fleet, "alpha").values() if len(d) == of_bravo.bytes}
            [message] = own & theirs
            coreset = decode(message, space, samples_max=10_000)
            assert len(coreset) == of_bravo.samples > 20
            assert set(coreset.labels.tolist()) == {0, 1, 2, 3, 4}
            assert round(float(coreset.weights.sum())) == of_bravo.stands_for
            images, samples = x.reshape(len(x), -1), coreset.inputs().reshape(len(coreset), -1)
            step = (space.high - space.low) / (2**coreset.bits - 1)
            away = np.abs(images[:, None] - samples[None, :5]).max(2).min(0)
            assert (away <= 0.51 * step).all()  # each is one of the digits, but for its few bits

            home = str(fleet.rundir / "bravo")
            invoke = CliRunner().invoke
            said = await asyncio.to_thread(invoke, shared, ["--node", home], catch_exceptions=False)
            assert job[:8] in said.output
            assert "alpha" in said.output
            assert f"{of_bravo.samples} for {of_bravo.stands_for}" in said.output
            log = (fleet.rundir / "bravo" / "output.log").read_text()
            assert f"shares {of_bravo.samples} real samples of its data" in log

            await asyncio.to_thread(fleet.client("alpha").stop, job, "enough")

            async def gone() -> bool:
                return not any(message in blobs(fleet, n).values() for n in ("alpha", "bravo", "charlie"))

            await until("no node keeps them", gone, 60)
            [after] = await shares(fleet, "bravo")
            assert (after.samples, after.held) == (of_bravo.samples, False)

    asyncio.run(main())
