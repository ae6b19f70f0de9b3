"""Scenes of a simulated network in which nodes are stood in for; planted bugs break them."""

from __future__ import annotations

import msgspec
import planted
import pytest

from muster.history.credit import others_of, own_of
from muster.history.point import Point
from muster.job.models.stand_ins import HELPED
from muster.simulation import faults as f
from muster.simulation.episodes import TimedFault
from muster.simulation.judging.check import Run, judge, play, story
from muster.simulation.judging.durability import whole_graph
from muster.simulation.schedule import Schedule
from muster.simulation.specs import (
    Bury,
    JobSpec,
    KillAtWrite,
    MachineSpec,
    TaskSpec,
    WireSpec,
    WorldFault,
    WorldSpec,
)
from muster.simulation.virtual.pipe import PathParams

LINK = PathParams(rate_bytes_s=1e6, delay_s=0.01)
JOB = JobSpec("a", 5.0, 20, None, 20, 0.05, 10.0, 2, "dense32", "dense32", share="always")
SAMPLES = {"a": 400, "b": 300, "c": 100, "d": 200}


def schedule(pairs: str, *events: tuple[float, WorldFault], heal_s: float = 400.0) -> Schedule:
    """Nodes of unequal size that share with a job that a, the fastest, asks for; rounds of about 6 s."""
    names = sorted(set(pairs.replace(" ", "")))
    spec = WorldSpec(
        1,
        tuple(MachineSpec(n, SAMPLES[n], 0.1 if n == "a" else 0.25, share="samples") for n in names),
        tuple(WireSpec(p[0], p[1], LINK) for p in pairs.split()),
        TaskSpec("tiny", common=False),
        (JOB,),
    )
    return Schedule(1, "scene", spec, tuple(TimedFault(at_s, fault) for at_s, fault in events), heal_s)


def helped() -> Schedule:
    """a, which is slow, asks; b and c have no data, d has some."""
    plan = schedule("ab ac ad")
    nodes = tuple(
        msgspec.structs.replace(n, step_s=1.0)
        if n.name == "a"
        else msgspec.structs.replace(n, samples=0, step_s=0.1)
        if n.name in "bc"
        else n
        for n in plan.spec.nodes
    )
    return msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, nodes=nodes))


def points(run: Run) -> list[Point]:
    world = run.world
    assert world is not None
    return list(whole_graph(world, world.jobs[0].id).points.values())


def stood_in(run: Run) -> dict[str, int]:
    """By name, how many commits have a stand-in for a node."""
    assert run.world is not None
    name = {machine.node: machine.spec.name for machine in run.world.machines.values()}
    counts = dict.fromkeys(name.values(), 0)
    for point in points(run):
        for node in others_of(point):
            counts[name[node]] += 1
    return counts


GONE = schedule("ab bc ac", (40.0, Bury("c")))
APART = schedule("ab cd ac bd", (25.0, f.Partition((("a", "b"), ("c", "d")))), (90.0, f.Heal()))
BACK = schedule("ab bc ac", (30.0, f.Leave("c")), (65.0, f.Return("c")))
KILLED = schedule(
    "ab bc ac", (40.0, Bury("c")), *((55.0 + 11 * k, KillAtWrite("a", k + 1, 2.0)) for k in range(6))
)


def test_a_node_that_died_after_it_shared_goes_on_teaching() -> None:
    run = play(GONE)
    assert not run.found
    assert stood_in(run)["c"] >= 5


def test_islands_stand_in_for_each_other_and_merge() -> None:
    run = play(APART)
    assert not run.found
    assert run.merges >= 1
    assert all(count >= 2 for count in stood_in(run).values())


def test_who_comes_back_is_counted_itself_again() -> None:
    run = play(BACK)
    assert not run.found
    assert run.world is not None
    c = run.world.machines["c"].node
    rounds = sorted((p for p in points(run) if p.folded), key=lambda p: p.round)
    assert stood_in(run)["c"] >= 3
    assert c in own_of(rounds[-1])


def test_a_coordinator_that_dies_again_and_again_trains_no_stand_in_twice() -> None:
    run = play(KILLED)
    assert not run.found
    assert stood_in(run)["c"] >= 3


def test_helpers_share_the_weight_of_the_asker() -> None:
    run = play(helped())
    verdict = judge(helped())
    assert verdict.good, story(verdict)
    assert stood_in(run)["a"] >= 15
    assert stood_in(run)["d"] == 0


def late_itself() -> Schedule:
    """b helps a and dies, so that a trains itself; b is back before a is done, and c is gone."""
    job = msgspec.structs.replace(JOB, rounds=12, min_nodes=1, planned=True, share="auto")
    nodes = (
        MachineSpec("a", 400, 10.0, share="samples"),
        MachineSpec("b", 0, 0.5),
        MachineSpec("c", 300, 20.0),
    )
    links = (WireSpec("a", "b", LINK), WireSpec("a", "c", LINK))
    events = (
        TimedFault(26.4, f.Kill("b")),  # in round 2, before it has trained
        TimedFault(34.0, f.Cut("a", "c")),
        TimedFault(36.5, f.Restart("b")),
        TimedFault(400.0, f.Heal()),
    )
    spec = WorldSpec(1, nodes, links, TaskSpec(common=False), (job,))
    return Schedule(1, "scene", spec, events, 600.0)


def test_an_update_that_is_discarded_has_no_part_in_the_momentum_of_a_round() -> None:
    """A round that helpers train in the place of one node is of plain steps (planning/step_size.py)."""
    verdict = judge(late_itself())
    assert verdict.good, story(verdict)
    assert any(f"an update of a is discarded: {HELPED}" == text for _, _, text in verdict.story)


@pytest.mark.parametrize(
    ("bug", "plan"),
    [
        ("counted_beside", BACK),
        ("weight_of_the_trainer", GONE),
        ("plan_without_stand_ins", GONE),
        ("trained_again", GONE),
        ("credited_to_the_trainer", APART),
        ("samples_stay", GONE),
        ("helpers_weigh_each", helped()),
    ],
)
def test_planted_bugs_are_caught(bug: str, plan: Schedule) -> None:
    with planted.planted(bug):
        verdict = judge(plan)
    assert not verdict.good, story(verdict)
