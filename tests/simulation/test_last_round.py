"""The last round has no next one: updates that are owed are waited for, also of nodes that come and go."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from muster.history.counted import Key
from muster.job.models.job_fetcher import STALL_S
from muster.node.api.snapshot_builder import why_of
from muster.protocol.records import Commit
from muster.simulation import faults as f
from muster.simulation.judging.check import Run, play
from muster.simulation.judging.durability import whole_graph
from muster.simulation.schedule import Schedule, TimedFault
from muster.simulation.specs import Bury, JobSpec, MachineSpec, TaskSpec, WireSpec, WorldFault, WorldSpec
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World

LINK = PathParams(rate_bytes_s=1.25e6, delay_s=0.002)
SLOT_S = 5.0  # that the mule stays with each of the two
HEAL_S = 400.0  # long after each of these jobs should be over
ROUNDS = 4
PATIENCE_S = 12.0


def job(**changes: Any) -> JobSpec:
    given = {"asker": "a", "at_s": 10.0, "rounds": ROUNDS, "seconds": None, "steps": 20, "lr": 0.05}
    return JobSpec(**given | {"patience_s": PATIENCE_S, "min_nodes": 2, "codec": "dense32"} | changes,
                   down_codec="dense32")  # fmt: skip


def run(pairs: str, steps_s: dict[str, float], asked: JobSpec, *events: TimedFault, seed: int = 1) -> Run:
    nodes = tuple(MachineSpec(name, 100, step_s) for name, step_s in steps_s.items())
    links = tuple(WireSpec(pair[0], pair[1], LINK) for pair in pairs.split())
    spec = WorldSpec(seed, nodes, links, TaskSpec(weights=1500), (asked,))
    ordered = tuple(sorted(events, key=lambda e: e.at_s))
    return play(Schedule(seed, "last round", spec, ordered, HEAL_S))


def mule(seed: int) -> Run:
    """b is with a, then with c, SLOT_S each; a asks at any moment of that."""
    rng = random.Random(f"mule/{seed}")
    at_s, turn, meetings = 1.0 + 3.0 * rng.random(), 0, list[TimedFault]()
    asked_s = at_s + 0.5 + 9.0 * rng.random()
    while at_s < HEAL_S:
        meetings += [
            TimedFault(at_s, f.Cut("b", "*"), True),
            TimedFault(at_s, f.Heal("b", "ca"[turn % 2]), True),
        ]
        at_s, turn = at_s + SLOT_S, turn + 1
    step_s = rng.choice((0.005, 0.02, 0.05, 0.15, 0.4))
    steps_s = {name: step_s * (0.7 + 0.6 * rng.random()) for name in "abc"}
    return run("ab bc", steps_s, job(at_s=asked_s), *meetings, seed=seed)


def fates(played: Run) -> tuple[dict[str, int], list[str]]:
    """How many updates of each node are counted; whose are not, or are discarded."""
    world = played.world
    assert world is not None
    points = whole_graph(world, world.jobs[0].id).points.values()
    folded = {Key(x.node, x.incarnation, x.sequence) for p in points for x in p.folded}
    counted = {name: sum(key.node == m.node for key in folded) for name, m in world.machines.items()}
    made = [world.archive.update(record_id)[0] for record_id in world.archive.updates]
    lost = [world.by_node[key.node].spec.name for key in made if key not in folded]
    records = [p.record for p in points if isinstance(p.record, Commit)]
    return counted, lost + [d.reason for record in records for d in record.discarded]


def told(played: Run) -> list[tuple[float, str, str]]:
    assert played.world is not None
    return played.world.archive.story


def ended_s(played: Run) -> float:
    """When the last round was committed, after it was asked for."""
    last_s = next(at_s for at_s, _, text in told(played) if f"round {ROUNDS} committed" in text)
    return last_s - played.schedule.spec.jobs[0].at_s


def every_update_is_counted(seed: int) -> None:
    played = mule(seed)
    counted, lost = fates(played)
    assert not played.found, (seed, played.found)
    assert not lost, (seed, lost)
    if played.schedule.spec.nodes[0].step_s > 0.03:  # a faster job is over before c has heard of it
        assert min(counted.values()) >= 1, (seed, counted)
    assert not any("1 nodes" in text for _, _, text in told(played)), (
        seed,
        "c heard nothing for ten patiences",
    )


@pytest.mark.parametrize("seed", range(10))
def test_all_updates_of_a_mule_and_its_ends_are_counted(seed: int) -> None:
    every_update_is_counted(seed)


@pytest.mark.slow
def test_all_updates_of_a_mule_and_its_ends_are_counted_in_100_of_100_runs() -> None:
    for seed in range(10, 100):
        every_update_is_counted(seed)


def away(name: str, first_s: float, away_s: float, here_s: float) -> list[TimedFault]:
    """The node is away for a while, here for a while, and so on."""
    events, at_s = list[TimedFault](), first_s
    while at_s < HEAL_S - away_s:
        events += [TimedFault(at_s, f.Leave(name)), TimedFault(at_s + away_s, f.Return(name))]
        at_s += away_s + here_s
    return events


STEADY = {"a": 0.25, "b": 0.25}


def duty_cycle(**changes: Any) -> Run:
    """c is here for 10 s and away for 20 s, and needs 15 s for its part of a round of 5 s."""
    return run("ab bc ac", STEADY | {"c": 0.75}, job(rounds=7, **changes), *away("c", 20.0, 20.0, 10.0))


def test_one_that_comes_back_as_often_as_so_far_is_waited_for() -> None:
    played = duty_cycle()
    assert not fates(played)[1], "nothing is thrown away"
    waits = [
        text for _, who, text in told(played) if who == "a" and "the last round waits for c until" in text
    ]
    assert waits


def test_nobody_is_waited_for_longer_than_the_asker_said() -> None:
    assert fates(duty_cycle(linger_s=0.0))[1], "it is the wait that saves them"


def test_one_that_never_came_back_is_not_waited_for() -> None:
    """It is missed after three heartbeats, as in any round."""
    whole = run("ab bc ac", STEADY | {"c": 0.25}, job())
    without = run("ab bc ac", STEADY | {"c": 0.25}, job(), TimedFault(27.0, Bury("c")))
    assert not fates(whole)[1]
    assert ended_s(whole) < 4 * 5.0 + 4.0, "nobody is owed anything: nobody is waited for"
    assert ended_s(without) < ended_s(whole) + 10.0


def courier() -> Run:
    """b leaves a and d, works with c, and is back with the record of c's update alone: c has the payload."""
    slow = PathParams(rate_bytes_s=1000.0, delay_s=0.05)  # 6 kB
    nodes = tuple(MachineSpec(name, 100, 0.25) for name in "abdc")
    links = (WireSpec("a", "d", LINK), WireSpec("a", "b", LINK), WireSpec("b", "d", LINK))
    asked = job(rounds=30, min_nodes=1)
    spec = WorldSpec(1, nodes, (*links, WireSpec("b", "c", slow)), TaskSpec(weights=1500), (asked,))
    events = [
        TimedFault(at_s, fault, True)
        for at_s, *faults in (
            (0.5, f.Cut("b", "c")),
            (12.0, f.Cut("b", "*"), f.Heal("b", "c")),
            (34.2, f.Cut("b", "c"), f.Heal("b", "a"), f.Heal("b", "d")),  # c made an update 1.1 s before
        )
        for fault in faults
    ]
    return play(Schedule(1, "courier", spec, tuple(events), HEAL_S))


def test_one_that_is_here_is_not_waited_for_with_a_payload_that_it_does_not_have() -> None:
    """Until now as long as it was in reach, up to five patiences."""
    played = courier()
    assert not played.found
    story = [(at_s, text) for at_s, who, text in told(played) if who == "a"]
    (done_s,) = [at_s for at_s, text in story if "round 30 committed" in text and at_s < HEAL_S]
    (begun_s,) = [at_s for at_s, text in story if text.startswith("round 30:") and at_s < HEAL_S]
    assert any("the last round waits for c" in text for _, text in story), "the record is here"
    assert done_s - begun_s < 5.1 + STALL_S + 1.0


def test_a_job_that_ends_by_time_waits_for_work_that_is_under_way() -> None:
    played = run("ab bc ac", STEADY | {"c": 0.25}, job(rounds=None, seconds=30.0))
    counted, lost = fates(played)
    assert not lost
    assert len(set(counted.values())) == 1


def test_the_job_says_whom_its_last_round_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    apply: Callable[[World, WorldFault], Any] = World.apply

    async def look(self: World, fault: WorldFault) -> bool:
        core = self.machines["a"].core
        if core is not None:
            said.extend(why_of(core, r, r.head()) for r in core.jobs.runners.values())
        return bool(await apply(self, fault))

    monkeypatch.setattr(World, "apply", look)
    looks = [TimedFault(float(at_s), f.SkewClock("b", 0.0)) for at_s in range(20, 200)]
    run("ab bc ac", STEADY | {"c": 0.75}, job(rounds=7), *away("c", 20.0, 20.0, 10.0), *looks)
    assert any(text.startswith("round 7: ") and "; waits for c until " in text for text in said)
    assert not any("waits for c until" in text for text in said if "round 7" not in text)
