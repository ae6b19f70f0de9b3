"""A job over links that are hardly ever there: a data mule, and a link that is up a third of the time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kept import Kept, counted_once, kept, one_head
from play import ask, end_all, field, until_one_end

from muster.emulation.scenario import Scenario
from muster.emulation.scenario_file import parse
from muster.history.counted import Key
from muster.history.point import Point
from muster.learning.task import load
from muster.protocol.envelope import unpack
from muster.protocol.records import Commit
from muster.simulation.faults import Cut, Heal
from small_fleet import SmallFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(500)]

SLOT_S = 5.0  # that the mule stays with each of the two
WIDE = Path(__file__).parent / "wide.py"


def mule() -> Scenario:
    """ann - bob - cat in a line; bob is the mule."""
    links = "".join(
        f'[[links]]\na = "{a}"\nb = "bob"\nrate_kbit_s = 10000\ndelay_ms = 2\n' for a in ("ann", "cat")
    )
    return parse(
        f'nodes = [{{ name = "ann" }}, {{ name = "bob" }}, {{ name = "cat" }}]\n{links}', "mule", "mule"
    )


async def walk(fleet: SmallFleet) -> None:
    """bob is with cat, then with ann, and so on; never with both."""
    while True:
        for absent, present in (("ann", "cat"), ("cat", "ann")):
            await fleet.net.apply(Cut(absent, "bob"))
            await fleet.net.apply(Heal(present, "bob"))
            await asyncio.sleep(SLOT_S)


def test_a_mule_between_two_nodes_that_never_meet_carries_every_update() -> None:
    names = ("ann", "bob", "cat")

    async def main() -> None:
        async with field(mule()) as fleet:
            walking = asyncio.ensure_future(walk(fleet))
            await asyncio.sleep(0.5)  # from here on nobody meets two others
            # the last round waits long enough for a carrier on a busy machine
            job = await ask(fleet, "ann", rounds=8, patience_s=12.0, linger_s=150.0)
            await until_one_end(fleet, names, job, 360.0)
            walking.cancel()
            await end_all(fleet)
            with kept(fleet.rundir, names, job) as disks:
                head = one_head(disks)
                counted_once(disks, head)
                line = list(disks[0].graph.ancestors(head.id))
                discarded = [d for p in line if isinstance(p.record, Commit) for d in p.record.discarded]
                assert not discarded, "nobody's work is thrown away"
                made = {key for disk in disks for key in disk.updates}
                assert made == {Key(f.node, f.incarnation, f.sequence) for p in line for f in p.folded}
                parts = {key.node for key in made}
                print(f"{len(made)} updates of {len(parts)} nodes, all of them counted")

    asyncio.run(main())


def interrupted() -> Scenario:
    """1 Mbit/s and 50 ms, up for 10 s and down for 20 s, all the time."""
    return parse(
        """
        nodes = [
            { name = "ann" },
            { name = "bob", away = { period_s = 30, fraction = 0.666667, phase_s = 10 } },
        ]
        [[links]]
        a = "ann"
        b = "bob"
        rate_kbit_s = 1000
        delay_ms = 50
        """,
        "interrupted",
        "interrupted",
    )


def test_a_link_that_is_up_10_s_and_down_20_s_carries_a_model_of_2_mb() -> None:
    async def main() -> None:
        async with field(interrupted(), WIDE, profile="auto") as fleet:
            start = await asyncio.to_thread(trained_before, fleet.rundir / "start.safetensors")
            job = await ask(fleet, "ann", rounds=1, patience_s=20.0, **{"from": str(start)})
            await until_one_end(fleet, ("ann", "bob"), job, 300.0)
            counts = (await fleet.net.counters()).values()
            taken = sum(count.bytes for count in counts)
            used = taken - sum(count.unsent_bytes for count in counts)
            await end_all(fleet)
            with kept(fleet.rundir, ("ann", "bob"), job) as disks:
                head = one_head(disks)
                counted_once(disks, head)
                needed = needed_bytes(disks[1], head)
            assert needed > 2_000_000
            print(
                f"{needed} bytes had to cross, {used} were on the air: {used / needed:.3f} times as many; "
                f"{taken / needed:.3f} times with what was lost in the queue when the link went down"
            )
            assert needed <= used <= 1.3 * needed

    asyncio.run(main())


def trained_before(path: Path) -> Path:
    """Parameters that no node can make for itself from a seed, as if they were trained elsewhere."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(20261123)
    save_file(load(str(WIDE), {}).model().state_dict(), path)
    return path


def needed_bytes(bob: Kept, head: Point) -> int:
    """What had to cross to and from bob, who began with nothing and did not ask: the model that the job
    starts from, the changes that the history's commits make to it, and bob's own updates."""
    line = list(bob.graph.ancestors(head.id))
    root = line[-1].record
    assert isinstance(root, Commit)
    assert not root.parents
    down = root.params_bytes + sum(
        p.record.delta.size_bytes for p in line if isinstance(p.record, Commit) and p.record.delta
    )
    asker = unpack(bob.store.select("job")[0].wire).author
    up = sum(u.payload.size_bytes for key, u in bob.updates.items() if key.node != asker)
    return down + up
