"""Does a node hold its borders: judges it nobody by its own stall, and is who floods it throttled?"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from operator import ne
from typing import NamedTuple

from muster.history.graph import Graph
from muster.node.core import Core
from muster.protocol.ids import JobId, NodeId, short
from muster.protocol.records import Plan, Refusal
from muster.simulation.judging.carrying import good
from muster.simulation.machine import Machine
from muster.simulation.world import Asked, World

AWAKE_S = 2.0  # after a stall, in which a node that judges by age does so
REFUSED_MAX = 80  # records that a node looks at and refuses in one flood; written here again on purpose


class Stalled(NamedTuple):
    """A process stood still, while some neighbours went on beside it."""

    node: NodeId
    name: str
    until_s: float
    stall_s: float
    there: frozenset[NodeId]  # all the time, over good links
    acting: frozenset[JobId]  # jobs that the node itself coordinated before


@dataclass
class StallWatch:
    """Notes stalls as they happen."""

    stalls: list[Stalled] = field(default_factory=list)

    def begins(self, world: World, machine: Machine, stall_s: float) -> None:
        core, before = machine.core, _there(world, machine)
        if core is None or machine.life is None or machine.life.paused:
            return
        acting = frozenset(job for job, runner in core.jobs.runners.items() if runner.acting)

        def ends() -> None:
            if machine.core is core:
                after = _there(world, machine)
                there = frozenset(n for n, other in before.items() if after.get(n) is other)
                found = Stalled(machine.node, machine.spec.name, world.now(), stall_s, there, acting)
                self.stalls.append(found)

        asyncio.get_running_loop().call_later(stall_s, ends)

    def judged(self, world: World, asked: Asked, graph: Graph) -> Iterator[str]:
        """Plans that a node made when it woke, in the place of one that was there all the time."""
        archive, patience_s = world.archive, asked.spec.patience_s
        out = {a for a, r in archive.records.values() if isinstance(r, Refusal) and r.job == asked.id}
        for record_id, (author, record) in archive.records.items():
            if not isinstance(record, Plan) or record.job != asked.id:
                continue
            point, at_s = graph.points.get(record.parent), archive.when[record_id]
            for stall in self.stalls if point is not None else ():
                new = stall.node == author and asked.id not in stall.acting and stall.stall_s > patience_s
                if point is None or not new or not stall.until_s <= at_s <= stall.until_s + AWAKE_S:
                    continue
                better = takewhile(partial(ne, author), point.roster)
                if any(node in stall.there and node not in out for node in better):
                    yield f"stall: {stall.name} stood still and then planned a round on {short(point.id)}"


def _there(world: World, machine: Machine) -> dict[NodeId, Core]:
    """The neighbours in good contact whose processes go on and have room on their disks."""
    around = [world.by_node[n] for n in world.network.neighbours_of(machine.node)]
    return {
        m.node: m.core
        for m in around
        if m.core is not None and m.life is not None and not m.life.paused and not m.disk.is_full
        and good(world, machine.node, m.node)
    }  # fmt: skip


def throttled(world: World) -> Iterator[str]:
    """Of a flood a node refuses some records, and then looks at no more."""
    for machine in world.up():
        assert machine.core is not None
        for author, count in machine.core.ledger.refusals.by_author.items():
            if count > REFUSED_MAX * max(1, world.archive.floods[author]):
                flooder = world.by_node[author].spec.name
                yield f"flood: {machine.spec.name} looked at {count} records of {flooder} that cannot be"
