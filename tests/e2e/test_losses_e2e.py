"""A job outlives its coordinator, its asker, each of its nodes in turn, a trainer and a full disk.

Real daemons with real trainers on an emulated LAN.  The task rests in every step, so that a round takes about
a second and there is something to interrupt.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

import play
import pytest
from kept import counted_once, kept, one_head
from play import ask, end_all, field, mesh, until, until_one_end, until_round

from muster.history.counted import Key
from muster.simulation.faults import FillDisk, Kill, Restart, SkewClock
from patience import patient_s
from small_fleet import SmallFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

NAMES = ("alpha", "bravo", "charlie")


def test_the_coordinator_is_killed_in_round_3_and_comes_back_to_the_same_head() -> None:
    async def main() -> None:
        async with field(mesh(NAMES)) as fleet:
            job = await ask(fleet, "alpha", rounds=7)
            before = await until_round(fleet, "alpha", job, 2)
            await fleet.net.apply(Kill("alpha"))
            assert before.round == 2, "round 3 was to be cut short"
            assert before.coordinator == "alpha"
            taken_over = await until_round(fleet, "bravo", job, 3)
            assert taken_over.coordinator in ("bravo", "charlie")
            await fleet.net.apply(Restart("alpha"))
            await until_one_end(fleet, NAMES, job)
            await end_all(fleet)
            with kept(fleet.rundir, NAMES, job) as disks:
                head = one_head(disks)
                assert head.round >= 7
                counted_once(disks, head)

    asyncio.run(main())


def test_the_asker_is_gone_for_good_and_fetches_the_result_much_later() -> None:
    others = NAMES[1:]

    async def main() -> None:
        async with field(mesh(NAMES)) as fleet:
            job = await ask(fleet, "alpha", rounds=4)
            await until_round(fleet, "bravo", job, 1)
            await fleet.net.apply(Kill("alpha"))
            await until_one_end(fleet, others, job)
            log = await play.log(fleet, "bravo", job)
            assert {c.coordinator for c in log.commits if c.round > 2} <= set(others)
            # Days later: the clock is another, too.
            await fleet.net.apply(SkewClock("alpha", 3 * 86400.0))
            await fleet.net.apply(Restart("alpha"))
            await until_one_end(fleet, NAMES, job)
            to = fleet.rundir / "result.safetensors"
            said = await asyncio.to_thread(
                _muster, "export", job, "--to", to, "--node", fleet.rundir / "alpha"
            )
            assert to.stat().st_size > 4 * 2730, said

    asyncio.run(main())


def _muster(*words: object) -> str:
    argv = [sys.executable, "-m", "muster.cli.main", *(str(word) for word in words)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=patient_s(120))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_node_is_killed_in_turn_and_nothing_is_counted_twice() -> None:
    async def main() -> None:
        async with field(mesh(NAMES)) as fleet:
            job = await ask(fleet, "alpha", rounds=20)
            # Each with another node that is watched meanwhile.
            for name, watched in (("charlie", "alpha"), ("alpha", "bravo"), ("bravo", "charlie")):
                seen = await until_round(fleet, watched, job, 1)
                seen = await until_round(fleet, watched, job, seen.round + 1)
                assert seen.state == "running", "all three were to be killed in the course of one job"
                await fleet.net.apply(Restart(name, 0.5))
                begun = await _counted(fleet, watched, job, name)
                if name != "bravo":  # the last one may find the job at its end
                    again = partial(_more, fleet, watched, job, name, begun)
                    await until(f"{name} works again", again, 90.0)
            await until_one_end(fleet, NAMES, job)
            await end_all(fleet)
            with kept(fleet.rundir, NAMES, job) as disks:
                counted_once(disks, one_head(disks))

    asyncio.run(main())


async def _counted(fleet: SmallFleet, watched: str, job: str, name: str) -> int:
    """How many of a node's updates the head of another counts."""
    seen = await play.view(fleet, watched, job)
    return next((c.updates_counted for c in seen.contributions if c.node == name), 0) if seen else 0


async def _more(fleet: SmallFleet, watched: str, job: str, name: str, than: int) -> bool:
    return await _counted(fleet, watched, job, name) > than


def test_a_dead_trainer_and_a_full_disk_do_not_end_a_job() -> None:
    """First the training process of bravo is killed alone, then charlie's disk takes nothing for a while."""

    async def main() -> None:
        async with field(mesh(NAMES)) as fleet:
            job = await ask(fleet, "alpha", rounds=12)
            await until_round(fleet, "bravo", job, 1)
            daemon = fleet.net.processes("bravo")[-1]
            trainer = play.trainer_of(fleet, "bravo")
            assert trainer is not None
            trainer.kill()
            begun = await _counted(fleet, "alpha", job, "bravo")
            await until("bravo trains again", lambda: _more(fleet, "alpha", job, "bravo", begun + 1), 60.0)
            assert daemon.returncode is None, "the daemon outlives its trainer"
            again = play.trainer_of(fleet, "bravo")
            assert again is not None
            assert again.pid != trainer.pid

            await fleet.net.apply(FillDisk("charlie"))
            seen = await play.view(fleet, "alpha", job)
            assert seen is not None
            await until_round(fleet, "alpha", job, seen.round + 2)
            assert fleet.net.processes("charlie")[-1].returncode is None, "a full disk is no reason to die"
            stuck = await play.view(fleet, "charlie", job)
            assert stuck is not None
            assert stuck.round < seen.round + 2, "a full disk was to hold it up"
            await fleet.net.apply(FillDisk("charlie", None))
            await until_one_end(fleet, NAMES, job)
            await end_all(fleet)
            with kept(fleet.rundir, NAMES, job) as disks:
                head = one_head(disks)
                counted_once(disks, head)
                lives = {(key.node, key.incarnation) for key in disks[0].updates}
                assert len(lives) == 3, "nobody lost its store"
                assert all(isinstance(key, Key) for key in disks[2].updates)

    asyncio.run(main())


def test_the_emulator_is_driven_through_its_control_socket(tmp_path: Path) -> None:
    """A fault on the control socket, as the page sends it, ends a real node and starts it again."""
    from muster.emulation.client import EmulationClient

    async def main() -> None:
        async with field(mesh(NAMES[:2])) as fleet, EmulationClient(fleet.net.control_path) as control:
            await control.ask("fault", fault={"fault": "kill", "node": "bravo"})
            nodes = {node["name"]: node for node in (await control.ask("nodes"))["nodes"]}
            assert [nodes[name]["running"] for name in NAMES[:2]] == [True, False]
            await control.ask("fault", fault={"fault": "restart", "node": "bravo"})
            assert await fleet.until_linked("bravo", 1) < 60.0

    asyncio.run(main())
