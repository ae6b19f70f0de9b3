"""What a node's messages left out: recomputed from all that it trained and sent (for invariants.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from muster.history.graph import Graph
from muster.job.models import residuals
from muster.protocol.ids import NodeId
from muster.protocol.records import Plan, Update
from muster.simulation.judging import shapes as shaping
from muster.simulation.judging.arithmetic import decoded, lacks, message_of, shape_of
from muster.simulation.world import Asked, World


def residue(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """What a node's messages left out so far is what it keeps: nothing is forgotten, nothing put in twice.

    What a coordinator's commits had left out when another one took over comes in by its next update, divided
    by the weight that this one has if the round goes as planned.
    """
    size = world.layout.parameters
    for machine in world.standing():
        possible, sent = [np.zeros(size, np.float64)], np.zeros(size, np.float64)
        count = 0
        for record_id in world.archive.updates:
            key, update = world.archive.update(record_id)
            if (key.node, key.incarnation, update.job) != (machine.node, machine.disk.incarnation, asked.id):
                continue
            shape = shape_of(world, graph, update.base)
            kept = shaping.kept(world.layout, shape)
            sent = sent * kept + decoded(world, message_of(world, update.payload), shape)
            possible = [trained * kept + world.archive.trained[record_id] for trained in possible]
            brought = world.archive.brought.get(record_id)
            if brought is not None:
                left_out, offers = brought
                missing = lacks(world, graph, left_out, update.base) * kept
                weights = set(_weights(world, key.node, update, offers))
                possible = [trained + missing / weight for trained in possible for weight in weights]
            count += 1
        left = np.zeros(size, np.float64)
        if (found := residuals.tagged(machine.disk, "up", asked.id)) is not None:
            left = shaping.spread(world.layout, found[0], found[1].astype(np.float64))
        offs = [float(np.abs(trained - sent - left).max()) for trained in possible]
        wide = [1e-4 * count * (1.0 + float(np.abs(trained).max())) for trained in possible]
        if all(off > most for off, most in zip(offs, wide, strict=True)):
            yield f"residual: {count} updates of {machine.spec.name} leave {min(offs):.2g} behind"


def _weights(world: World, node: NodeId, update: Update, offers: Sequence[NodeId]) -> Iterator[float]:
    """Of a node's update in a round: by samples, and less than in proportion to its steps, in one of
    the plans that it may have followed. A node that has not heard of others' samples takes them to be its
    own; it had heard of them from the first few of `offers`, or from all."""
    samples = {machine.node: machine.spec.samples for machine in world.machines.values()}
    heard = [{n: samples[n if n in offers[:i] else node] for n in samples} for i in range(len(offers) + 1)]
    for author, plan in world.archive.records.values():
        if not isinstance(plan, Plan) or plan.parent != update.base or author == node:
            continue
        steps = {a.node: a.steps for a in plan.assignments}
        if node not in steps:
            continue
        for known in heard:
            instead = [(known[n], a.steps) for a in plan.stand_ins for n in a.data]
            total = sum(known[n] for n in steps) + sum(n for n, _ in instead)
            mean = (sum(known[n] * k for n, k in steps.items()) + sum(n * k for n, k in instead)) / total
            weight = known[node] / total * min(4.0, (mean / steps[node]) ** 0.5)
            yield min(1.0, max(0.01, weight))
