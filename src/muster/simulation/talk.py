"""What simulated nodes of the next version say that this one cannot: a greeting, notes of their commits."""

from __future__ import annotations

import asyncio
from functools import partial

from muster.node.core import Core
from muster.simulation.later import greeting, half_measured, note_of
from muster.simulation.machine import Machine
from muster.simulation.needs import on_behalf
from muster.simulation.world import World

LOOK_S = 5.0
NOTED_MAX = 40  # commits of one node


async def speak(world: World) -> None:
    """Let each node of the next version say what it has to say, until cancelled."""
    while True:
        for machine in world.up():
            if machine.later:
                on_behalf(machine, partial(_say, machine))
        await asyncio.sleep(LOOK_S)


def _say(machine: Machine, core: Core) -> None:
    if machine.greeted != core.store.incarnation:
        core.ledger.publish(greeting(machine.spec.name))
        machine.greeted = core.store.incarnation
    for job, runner in core.jobs.runners.items():
        for point in list(runner.view.graph.points.values()):
            if point.author == machine.node and point.id not in machine.noted:
                if len(machine.noted) >= NOTED_MAX:
                    return
                core.ledger.publish(note_of(job, point.id))
                core.ledger.publish(half_measured(job, point.id))
                machine.noted.add(point.id)
