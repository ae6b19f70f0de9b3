"""What simulated nodes need of a model in use, and what they use: said as a node's own loops would say it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from muster.history.point import Point
from muster.job.runner import JobRunner
from muster.node.core import Core
from muster.protocol.records import Need, Refusal, Use
from muster.simulation.machine import Machine
from muster.simulation.mortal_store import Killed, Unexpected
from muster.simulation.specs import sketch_of
from muster.simulation.trainers import kinds
from muster.simulation.virtual.lives import LIFE
from muster.simulation.world import Asked, World
from muster.storage.store import StorageError

SAMPLES = 100  # of a sketch
LOOK_S = 5.0
UNNEEDED = "nobody needs it any more"  # why such a job ends; written here again on purpose
RETURNS_S = 60.0  # after it took a model into use, where that turns out to be wrong


def works_for(world: World, machine: Machine, asked: Asked) -> bool:
    """Whether a machine is to take part in a job: it is willing, and concerned."""
    if not asked.spec.adapts:
        return machine.willing
    like = world.machines[asked.spec.asker].spec.sketch
    concerned = machine.spec.adapts and machine.spec.sketch == like
    return machine.willing and concerned and not _is_out(machine, asked)


def _is_out(machine: Machine, asked: Asked) -> bool:
    """Whether a node's need was met before the job's end, as far as it knows: by something else, or before it
    lost its disk. Or nobody needs the job any more."""
    runner = machine.runner(asked.id)
    if machine.core is None or runner is None:
        return False
    need = machine.core.field.need(machine.node, runner.view.job.task)
    last = runner.view.last_answer(machine.node)
    out = isinstance(last, Refusal) or (machine.spec.met_at_s is not None and last is None)
    return runner.finished() == UNNEEDED or (need is not None and need.over and out)


async def speak(world: World) -> None:
    """Let each node say what it needs and uses, until cancelled."""
    while True:
        for machine in world.up():
            if machine.spec.sketch is not None and world.now() >= machine.spec.need_at_s:
                say(world, machine)
        await asyncio.sleep(LOOK_S)


def say(world: World, machine: Machine) -> bool:
    """What a node has to say now; whether it could."""
    return on_behalf(machine, partial(_say, world, machine))


def on_behalf(machine: Machine, do: Callable[[Core], None]) -> bool:
    """Let a node's core do something as if by itself; whether it could."""
    core, life = machine.core, machine.life
    if core is None or life is None or life.paused or machine.disk.is_full:
        return False
    context = contextvars.copy_context()
    context.run(LIFE.set, life)
    try:
        context.run(do, core)
    except (StorageError, Unexpected, Killed):  # the next look is soon; the dead say nothing
        return False
    return True


def _say(world: World, machine: Machine, core: Core) -> None:
    task, field, spec = kinds.task_name(world.spec.task), core.field, machine.spec
    assert spec.sketch is not None
    need = field.need(machine.node, task)
    if need is None:
        fingerprint = world.layout.fingerprint()
        need = Need(task, fingerprint, 0, 0, 1, sketch_of(spec.sketch), SAMPLES, 50, 30)
        field.publish(need)
    if spec.met_at_s is not None and world.now() >= spec.met_at_s:
        field.publish(replace(need, over=True))
    use = field.use(machine.node, task)
    if use is None:
        field.publish(Use(task, need.fingerprint, 0, 0, b"", b"", b"", "first", 0.0))
    elif use.reason == "adopted" and spec.returns and world.now() >= machine.adopted_s + RETURNS_S:
        field.publish(replace(use, commit=use.former, former=use.commit, reason="returned"))
    elif use.reason == "first" and (ended := _result(world, machine, core)) is not None:
        runner, head = ended
        adopted = replace(use, origin=runner.view.id, commit=head.id, reason="adopted", held_n=20, wins=9)
        field.publish(adopted)
        field.publish(replace(need, over=True))
        machine.adopted_s = world.now()


def _result(world: World, machine: Machine, core: Core) -> tuple[JobRunner, Point] | None:
    """The end of a job that adapted this node's model, as it holds it."""
    for asked in world.jobs:
        runner = core.jobs.runners.get(asked.id)
        if runner is None or not works_for(world, machine, asked) or not asked.spec.adapts:
            continue
        head = runner.head()
        if head is not None and runner.state() == "finished":
            return runner, head
    return None
