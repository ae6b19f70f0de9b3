"""One job of many simulated nodes, measured: what a node sends, computes and keeps a round (for scale.py).

The daemon's own code in virtual time, over links of 125 kB/s that delay by 20 ms, without faults.  `groups`:
the asker has links to the heads of groups, these to their members.  `mesh`: a ring, and four more neighbours
each, drawn at random.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any, TypeVar

from muster.job.coordinator.round_planner import RoundPlanner
from muster.job.runner import JobRunner
from muster.protocol.envelope import encode
from muster.protocol.records import Commit
from muster.simulation.specs import JobSpec, MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.virtual.lives import LivesLoop
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World

T = TypeVar("T")

STARTS_S, LIMIT_S = 60.0, 36_000.0
WEIGHTS = 300
FIRST = 2  # rounds before it are not measured: nodes come to know each other


@dataclass
class Planning:
    """How long planning took the coordinator, each time."""

    seconds: list[float]


def spec_of(nodes: int, shape: str, rounds: int, seed: int, idle: int = 0) -> WorldSpec:
    """`idle`: so many more nodes, which follow the job and take no part."""
    rng = random.Random(f"scale/{seed}/{nodes}/{shape}")
    trains, nodes = nodes, nodes + idle
    names = [f"n{number}" for number in range(nodes)]
    out = set(rng.sample(names[1:], idle))
    machines = tuple(
        MachineSpec(n, rng.randint(100, 200), rng.uniform(0.05, 0.15), unwilling="policy" if n in out else "")
        for n in names
    )
    assert len(names) - len(out) == trains
    params = PathParams(125_000.0, 0.02, 0.004)
    links = tuple(WireSpec(names[a], names[b], params) for a, b in _links(nodes, shape, rng))
    job = JobSpec(names[0], STARTS_S, rounds, None, 20, 0.05, 20.0, 1, "auto", "auto")
    return WorldSpec(seed, machines, links, TaskSpec("linear", WEIGHTS), (job,))


def _links(nodes: int, shape: str, rng: random.Random) -> list[tuple[int, int]]:
    if shape == "groups":
        heads = max(1, round((nodes - 1) ** 0.5)) if nodes > 1 else 0
        found = [(0, h) for h in range(1, heads + 1) if h < nodes]
        return found + [(1 + (n - 1) % heads, n) for n in range(heads + 1, nodes)]
    ring = {tuple(sorted((a, b))) for a, b in pairwise([*range(nodes), 0])}
    degree = [2] * nodes
    for a in range(nodes):
        for _ in range(50):
            b = rng.randrange(nodes)
            pair = tuple(sorted((a, b)))
            if degree[a] >= min(6, nodes - 1):
                break
            if a != b and pair not in ring and degree[b] < 6:
                ring.add(pair)
                degree[a] += 1
                degree[b] += 1
    return sorted((a, b) for a, b in ring if a != b)


def measured(nodes: int, shape: str, rounds: int, *, seed: int = 1, idle: int = 0) -> dict[str, Any]:
    """Play it to the end."""
    planning = Planning([])
    plan = RoundPlanner.plan

    def timed(self: RoundPlanner, *args: Any, **options: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return plan(self, *args, **options)
        finally:
            planning.seconds.append(time.perf_counter() - began_s)

    RoundPlanner.plan = timed  # type: ignore[method-assign]
    try:
        return in_virtual_time(_run(spec_of(nodes, shape, rounds, seed, idle), rounds, planning))
    finally:
        RoundPlanner.plan = plan  # type: ignore[method-assign]


def in_virtual_time(work: Coroutine[Any, Any, T]) -> T:
    """What it returns, run in a loop of its own."""
    loop = LivesLoop(LIMIT_S + 1000.0)
    asyncio.set_event_loop(loop)
    gc.freeze()
    gc.disable()  # as in the other simulations: what is alive grows all the time
    try:
        return loop.run_until_complete(work)
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        gc.enable()


async def begun(spec: WorldSpec) -> World:
    """All nodes have started, and the first job was asked for."""
    world = World(spec)
    for machine in world.machines.values():
        machine.start_later(machine.spec.starts_s)
    await asyncio.sleep(STARTS_S)
    assert await world.ask(spec.jobs[0])
    return world


async def _run(spec: WorldSpec, rounds: int, planning: Planning) -> dict[str, Any]:
    world = await begun(spec)
    asker = world.machines[spec.nodes[0].name]
    assert asker.core is not None
    asked_s = world.now()
    while world.jobs[0].id not in asker.core.jobs.runners:
        await asyncio.sleep(0.5)
    runner = asker.core.jobs.runners[world.jobs[0].id]
    while _round(runner) < FIRST and world.now() - asked_s < LIMIT_S:
        await asyncio.sleep(0.5)
    before, began_s, rss, at_s = _carried(world), time.process_time(), _rss(), world.now()
    first = _round(runner)
    planning.seconds.clear()
    while _round(runner) < rounds and world.now() - asked_s < LIMIT_S:
        await asyncio.sleep(0.5)
    spent_s, done = time.process_time() - began_s, _round(runner) - first
    carried = {n: after - before[n] for n, after in _carried(world).items()}
    virtual_s = world.now() - at_s
    commits = [p.record for p in runner.view.graph.points.values() if isinstance(p.record, Commit)]
    bodies = [len(encode(c)) for c in commits if c.round > first and c.folded]
    folded = [len(c.folded) for c in commits if c.round > first and c.folded]
    count = len(world.machines)
    found = {
        "nodes": count,
        "rounds": done,
        "in_round": median(folded) if folded else 0,
        "round_s": virtual_s / max(1, done),
        "node_bytes": sum(carried.values()) / count / max(1, done),
        "node_bytes_most": max(carried.values()) / max(1, done),
        "node_bytes_s": sum(carried.values()) / count / virtual_s,
        "commit_bytes": median(bodies) if bodies else 0,
        "cpu_ms_node_round": 1000 * spent_s / count / max(1, done),
        "kb_node_round": (_rss() - rss) / count / max(1, done) / 1000,
        "plan_s": max(planning.seconds, default=0.0),
    }
    await world.close()
    return found


def _carried(world: World) -> dict[str, int]:
    network = world.network
    return {
        name: sum(network.carried_bytes(m.node, other) for other in network.neighbours_of(m.node))
        for name, m in world.machines.items()
    }


def _round(runner: JobRunner) -> int:
    head = runner.head()
    return head.round if head is not None else -1


def _rss() -> int:
    """Bytes of this process that are in memory; its largest, as a process gives little back."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
