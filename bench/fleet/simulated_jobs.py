"""Jobs of simulated fleets without faults, drawn from seeds, for forecast_error.py and budgets_kept.py.

The daemon's own code runs over simulated links and trainers in virtual time: two to six nodes in a star, up
to eight times as slow as each other, links of 2 kB/s to 1 MB/s that delay by 2 to 300 ms, power models, and
models of 300 to 6,000 weights.  In every other fleet things change meanwhile: a link gets slower or faster, a
node goes away for a while.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.history.point import Point
from muster.job.coordinator.forecasts import EVERYBODY, load
from muster.job.runner import JobRunner
from muster.node.api.job_requests import open_job
from muster.node.core import Core
from muster.node.energy.presets import RADIOS
from muster.protocol.ids import JobId
from muster.protocol.parts import CLASSES, Power, Recipe, StopRule
from muster.protocol.records import Job
from muster.simulation import faults
from muster.simulation.specs import MachineSpec, TaskSpec, WireSpec, WorldSpec
from muster.simulation.trainers import kinds
from muster.simulation.virtual.lives import LIFE, LivesLoop
from muster.simulation.virtual.pipe import PathParams
from muster.simulation.world import World

STARTS_S, LIMIT_S = 20.0, 7200.0
STEP_S, SLOWER_MOST = (0.002, 0.5), 8.0
RATE_BYTES_S, DELAY_S = (2_000.0, 1_000_000.0), (0.002, 0.3)
Change = tuple[float, faults.Fault]


@dataclass(frozen=True)
class Fleet:
    """A drawn fleet; the first machine asks. `changes`: what happens so many seconds after asking."""

    spec: WorldSpec
    changes: tuple[Change, ...]

    @property
    def dense_bytes(self) -> int:
        return 4 * self.spec.task.weights


@dataclass(frozen=True)
class RoundSeen:
    """A round as its coordinator expected it, and as it was."""

    round: int
    expected_s: float | None
    was_s: float | None
    steps: int


@dataclass(frozen=True)
class Seen:
    """A job's end, its rounds, and what each node spent, by its name."""

    why: str
    round: int
    age_s: float
    bytes: dict[str, int]
    joules: dict[str, float]
    rounds: tuple[RoundSeen, ...]
    seconds: float  # of one core


def log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def draw(seed: int) -> Fleet:
    rng = random.Random(f"fleet/{seed}")
    names = [f"node-{number}" for number in range(rng.randint(2, 6))]
    usual_s = log_uniform(rng, *STEP_S)
    radio = rng.choice(tuple(RADIOS.values()))
    nodes, links = [], []
    for name in names:
        idle_w, core_w = rng.uniform(0.1, 3.0), rng.uniform(0.5, 8.0)
        power = Power(idle_w, idle_w + core_w, radio.sent_j_byte, radio.received_j_byte, radio.exchange_j)
        step_s = usual_s * log_uniform(rng, 1.0, SLOWER_MOST)
        nodes.append(MachineSpec(name, rng.randint(50, 500), step_s, rng.uniform(0, 5), power=power))
    for name in names[1:]:
        delay_s = log_uniform(rng, *DELAY_S)
        params = PathParams(log_uniform(rng, *RATE_BYTES_S), delay_s, 0.2 * delay_s)
        links.append(WireSpec(names[0], name, params))
    task = TaskSpec("linear", rng.choice((300, 1500, 6000)), rng.random() < 0.7)
    spec = WorldSpec(seed, tuple(nodes), tuple(links), task, (), heavy_s=0.02)
    return Fleet(spec, _changes(rng, names) if seed % 2 else ())


def _changes(rng: random.Random, names: list[str]) -> tuple[Change, ...]:
    found: list[Change] = []
    for _ in range(rng.randint(1, 3)):
        at_s, name = rng.uniform(10, 200), rng.choice(names[1:])
        if rng.random() < 0.5:
            found.append((at_s, faults.Slow(names[0], name, log_uniform(rng, 16, 4000))))
        else:
            found += [(at_s, faults.Leave(name)), (at_s + rng.uniform(15, 90), faults.Return(name))]
    return tuple(sorted(found, key=lambda change: change[0]))


def play(fleet: Fleet, stop: StopRule, *, steps: int = 0, codec: str = "auto") -> Seen:
    """Run a job of a fleet to its end."""
    began_s = time.process_time()
    gc.disable()
    loop = LivesLoop(LIMIT_S + 1000.0)
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(_run(fleet, stop, steps, codec, began_s))
    finally:
        gc.enable()
        asyncio.set_event_loop(None)
        loop.close()


async def _run(fleet: Fleet, stop: StopRule, steps: int, codec: str, began_s: float) -> Seen:
    world = World(fleet.spec)
    for machine in world.machines.values():
        machine.start_later(machine.spec.starts_s)
    await asyncio.sleep(STARTS_S)
    asker = world.machines[fleet.spec.nodes[0].name]
    core = asker.core
    assert core is not None
    context = contextvars.copy_context()
    context.run(LIFE.set, asker.life)
    recipe = Recipe(0.05, 10, steps, fleet.spec.seed, codec=codec, down_codec=codec, server_momentum=None)
    job = Job(
        kinds.task_name(fleet.spec.task), world.layout.fingerprint(), recipe, stop, 1, 20.0, b"1", CLASSES
    )

    async def asked() -> JobId:
        return open_job(core, job, core.store.put_blob(kinds.initial_blob(fleet.spec.task)))

    job_id = await asyncio.get_running_loop().create_task(asked(), context=context)
    asked_s = world.now()
    changing = asyncio.create_task(_change(world, fleet.changes))
    head = None
    while head is None and world.now() - asked_s < LIMIT_S:
        await asyncio.sleep(1.0)
        head = _end(core.jobs.runners.get(job_id))
    changing.cancel()
    runner = core.jobs.runners[job_id]
    head = head or runner.head()
    assert head is not None
    seen = _seen(world, core, runner, head, began_s)
    await world.close()
    await asyncio.gather(changing, return_exceptions=True)
    return seen


async def _change(world: World, changes: tuple[Change, ...]) -> None:
    asked_s = world.now()
    for at_s, fault in changes:
        await asyncio.sleep(max(0.0, asked_s + at_s - world.now()))
        await world.apply(fault)


def _end(runner: JobRunner | None) -> Point | None:
    """The head, if it ends the job."""
    head = runner.head() if runner is not None else None
    return head if runner is not None and head is not None and runner.view.finished(head) else None


def _seen(world: World, core: Core, runner: JobRunner, head: Point, began_s: float) -> Seen:
    name_of = {machine.node: name for name, machine in world.machines.items()}
    rounds = [
        RoundSeen(number, row.seconds, row.was_s, row.steps)
        for number in range(1, head.round + 1)
        for row in load(core.store, runner.view.id, number)
        if row.node == EVERYBODY
    ]
    return Seen(
        runner.view.finished(head) or f"not over after {LIMIT_S:g} s",
        head.round,
        head.age_s,
        {name_of[s.node]: s.bytes for s in head.spent},
        {name_of[s.node]: s.joules for s in head.spent},
        tuple(rounds),
        time.process_time() - began_s,
    )


def resumed(
    path: Path, seeds: range, one: Callable[[int], dict[str, Any]], tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    """What `one` says of each seed, a line of JSON each in `path`; those that are there already are kept."""
    found = (
        {row["seed"]: row for row in map(json.loads, path.read_text("utf-8").splitlines())}
        if path.exists()
        else {}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for seed in seeds:
            if seed not in found:
                found[seed] = {"seed": seed} | one(seed)
                file.write(json.dumps(found[seed]) + "\n")
                file.flush()
                tell(f"seed {seed} of {seeds.stop - 1}")
    return [found[seed] for seed in seeds]
