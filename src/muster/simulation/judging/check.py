"""Runs the random hour of a seed and judges it: `check(seed)`; `muster check` runs many."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import warnings
from dataclasses import dataclass, field

import msgspec

from muster.simulation import needs, talk
from muster.simulation.episodes import far
from muster.simulation.judging.durability import DurabilityWatch
from muster.simulation.judging.invariants import broken, running, settled
from muster.simulation.mortal_store import Killed, Unexpected
from muster.simulation.schedule import Schedule, draw
from muster.simulation.specs import ENDINGS, Bury, JobSpec, LoseDisk, Stall, WorldFault
from muster.simulation.virtual.event_loop import Deadlock, OutOfTime, Standstill
from muster.simulation.virtual.lives import LivesLoop
from muster.simulation.world import Asked, World

LOOK_S = 10.0  # between two looks at what is durable where
QUIET_S = 200.0  # after all is settled nothing may move any more,
QUIET_A_HOP_S = 60.0  # longer where heartbeats have far to go
LOOKS_A_COUNT = 10  # tasks are counted at every tenth look
SETTLE_PATIENCES = 40.0  # how long healing may take, in patiences ...
SETTLE_ROUNDS = 2.0  # ... and in times that the whole job would take its slowest node
STORY_MAX = 4000


class Verdict(msgspec.Struct):
    """The result of a seed."""

    seed: int
    hours: float
    shape: str
    nodes: int
    jobs: int
    faults: int  # that took effect
    faults_in_job: int  # while a job ran
    simulated_s: float
    seconds: float  # of one core
    trace: str
    settled_s: float | None  # after the last heal
    rounds: int
    commits: int
    merges: int
    acknowledged: int
    broken: list[str]
    story: list[tuple[float, str, str]] = []

    @property
    def counts(self) -> bool:
        """Whether a fault hit a job: a seed without one proves nothing."""
        return self.faults_in_job > 0

    @property
    def good(self) -> bool:
        return not self.broken


@dataclass
class Run:
    """A schedule, and what is counted while it is played."""

    schedule: Schedule
    world: World | None = None
    watch: DurabilityWatch = field(default_factory=DurabilityWatch)
    faults: int = 0
    faults_in_job: int = 0
    seconds: float = 0.0  # of one core
    simulated_s: float = 0.0
    settled_s: float | None = None
    found: list[str] = field(default_factory=list)
    rounds: int = 0
    commits: int = 0
    merges: int = 0


def check(seed: int, hours: float = 1.0) -> Verdict:
    """Run one seed's schedule to its end and judge it."""
    return judge(draw(seed, hours))


def judge(schedule: Schedule) -> Verdict:
    """Run a schedule to its end and judge it. Equal schedules give equal verdicts but for `seconds`."""
    run = play(schedule)
    world = run.world
    if world is None:
        raise RuntimeError(f"the world of seed {schedule.seed} cannot be made: {run.found[0]}")
    return Verdict(
        schedule.seed, schedule.hours, schedule.shape, len(schedule.spec.nodes),
        len(schedule.spec.jobs), run.faults, run.faults_in_job, run.simulated_s, run.seconds,
        world.archive.trace(), run.settled_s, run.rounds, run.commits, run.merges,
        len(run.watch.acknowledged), run.found[:20], world.archive.story[-STORY_MAX:],
    )  # fmt: skip


def play(schedule: Schedule) -> Run:
    """Run a schedule to its end; the world and what was found broken in it."""
    run = Run(schedule)
    began_s = time.process_time()
    gc.disable()  # an hour's garbage is some megabytes: not worth a tenth of the time
    loop = LivesLoop(schedule.heal_s * 40 + 100_000.0)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_hour(run))
    except (OutOfTime, Deadlock, Standstill) as error:
        run.found.append(str(error))
    except (Exception, asyncio.CancelledError) as error:  # a fault in the judging fails the seed, too
        run.found.append(f"unexpected: {error!r} {_where(error)}")
    finally:
        _end(loop, run)
        gc.enable()
    run.seconds, run.simulated_s = time.process_time() - began_s, loop.time()
    for fault in loop.faults:
        if not isinstance(fault, Killed | Unexpected):
            run.found.insert(0, f"unexpected: {fault!r} {_where(fault)}")
    return run


def _end(loop: LivesLoop, run: Run) -> None:
    left = asyncio.all_tasks(loop)
    if left and not run.found:
        run.found.append(f"{len(left)} tasks left behind: {sorted(map(str, left))[0]}")
    loop.until_s = float("inf")
    for task in left:
        task.cancel()
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        if left:
            loop.run_until_complete(asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 100.0))
    asyncio.set_event_loop(None)
    loop.close()


def _where(fault: BaseException) -> str:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    trace = fault.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (
        f"at {trace.tb_frame.f_code.co_filename.rsplit('/src/', 1)[-1]}:{trace.tb_lineno}"
        if trace is not None
        else ""
    )


async def _hour(run: Run) -> None:
    schedule = run.schedule
    world = run.world = World(schedule.spec)
    for machine in world.machines.values():
        machine.start_later(machine.spec.starts_s)
    looking = asyncio.create_task(_look(run, world))
    asking = asyncio.create_task(_ask(world))
    speaking = asyncio.create_task(needs.speak(world))
    talking = asyncio.create_task(talk.speak(world))
    for event in schedule.events:
        await asyncio.sleep(max(0.0, event.at_s - world.now()))
        in_job = running(world)
        if await _happens(run, world, event.fault) and not (
            event.routine or isinstance(event.fault, ENDINGS)
        ):
            run.faults += 1
            run.faults_in_job += in_job
    await asyncio.sleep(max(0.0, schedule.heal_s - world.now()))
    await world.mend()
    await asking
    await _settle(run, world)
    beside = (looking, speaking, talking)
    for task in beside:
        task.cancel()
    await world.close()
    await asyncio.gather(*beside, return_exceptions=True)


async def _happens(run: Run, world: World, fault: WorldFault) -> bool:
    """Let a fault happen, unless it would take the last copy of something acknowledged."""
    if isinstance(fault, Bury | LoseDisk):
        machine = world.machines[fault.node]
        if not run.watch.may_lose(world, machine):
            run.watch.skipped += 1
            world.tell("*", f"fault skipped, it would take a last copy: {fault}")
            return False
    if isinstance(fault, Stall):
        run.watch.stalls.begins(world, world.machines[fault.node], fault.stall_s)
    return await world.apply(fault)


async def _ask(world: World) -> None:
    """Ask for the jobs as their users would: they wait for their node to be up."""
    for job in world.spec.jobs:
        await asyncio.sleep(max(0.0, job.at_s - world.now()))
        await _ask_for(world, job)


async def _ask_for(world: World, job: JobSpec) -> None:
    asker = world.machines[job.asker]
    while not (asker.buried or asker.revoked):
        if asker.up and not asker.disk.is_full and (not job.adapts or needs.say(world, asker)):
            if await world.ask(job):
                return
            job = msgspec.structs.replace(job, back=None)  # those parameters cannot be got
        await asyncio.sleep(1.0)


async def _look(run: Run, world: World) -> None:
    looks = 0
    while True:
        await asyncio.sleep(LOOK_S)
        looks += 1
        if world.jobs:
            run.watch.look(world)
            run.watch.look_at_carriers(world)
            run.watch.concerns.look(world)
        if looks % LOOKS_A_COUNT == 0:
            run.watch.tasks_max = max(run.watch.tasks_max, len(asyncio.all_tasks()))


async def _settle(run: Run, world: World) -> None:
    """Wait until all nodes agree, then a while longer; then judge."""
    healed_s = world.now()
    pairs = [(link.a, link.b) for link in world.spec.links]
    names = [m.spec.name for m in world.standing()]
    hops = max(max(far([name, *names], pairs).values()) for name in names)
    quiet_s = max(QUIET_S, QUIET_A_HOP_S * (hops + 1))
    since_s = None
    while world.now() < healed_s + _patient_s(world):
        await asyncio.sleep(LOOK_S)
        if settled(world) is not None:
            since_s = None
        elif since_s is None:
            since_s = world.now()
        elif world.now() - since_s >= quiet_s:
            break
    if since_s is not None:
        run.settled_s = since_s - healed_s
    run.found += broken(world, run.watch)
    for asked in world.jobs:
        _tally(run, world, asked)


def _patient_s(world: World) -> float:
    """How long healing may take: all jobs one after another, by their slowest node."""
    total_s = 600.0
    for job in world.spec.jobs:
        slowest_s = max(n.step_s for n in world.spec.nodes) * job.steps + 10.0
        total_s += SETTLE_PATIENCES * job.patience_s + SETTLE_ROUNDS * (job.rounds or 40) * slowest_s
        total_s += 2 * (job.seconds or 0.0)
    return total_s


def _tally(run: Run, world: World, asked: Asked) -> None:
    rounds = commits = merges = 0
    for machine in world.up():
        runner = machine.runner(asked.id)
        if runner is not None and (head := runner.head()) is not None:
            points = runner.view.graph.points.values()
            rounds = max(rounds, head.round)
            commits = max(commits, len(points))
            merges = max(merges, sum(p.is_merge for p in points))
    run.rounds += rounds
    run.commits += commits
    run.merges += merges


def story(verdict: Verdict, last: int = 80) -> str:
    """A failing seed for people: what is broken, and what happened before."""
    lines = [f"seed {verdict.seed} ({verdict.shape}, {verdict.nodes} nodes) fails:"]
    lines += [f"  {sentence}" for sentence in verdict.broken]
    lines.append("what happened:")
    lines += [f"  {at_s:9.2f} {name:4} {text}" for at_s, name, text in verdict.story[-last:]]
    lines.append(f"run it again: muster check --seed {verdict.seed} --seeds 1")
    return "\n".join(lines)
