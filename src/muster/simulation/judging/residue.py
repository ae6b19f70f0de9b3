"""What a node's messages left out: recomputed from all that it trained and sent (for invariants.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from muster.compression.tensors import Layout
from muster.history.graph import Graph
from muster.job.models import residuals
from muster.protocol.ids import NodeId
from muster.protocol.records import Plan, Update
from muster.simulation.archive import Left
from muster.simulation.judging import shapes as shaping
from muster.simulation.judging.arithmetic import decoded, lacks, message_of, shape_of
from muster.simulation.world import Asked, World


def residue(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """What each message of a node left out is what it kept: nothing is forgotten, nothing put in twice.

    What a coordinator's commits had left out when another one took over comes in by its next update, divided
    by the weight that this one has if the round goes as planned.
    """
    layout, archive = world.layout, world.archive
    for machine in world.standing():
        last: Left | None = None
        for number, record_id in enumerate(archive.updates, 1):
            key, update = archive.update(record_id)
            if (key.node, key.incarnation, update.job) != (machine.node, machine.disk.incarnation, asked.id):
                continue
            before, last = last, archive.kept[record_id]
            if update.data and _same(before, last):  # a stand-in's message leaves nothing for later ones
                continue
            shape = shape_of(world, graph, update.base)
            kept = shaping.kept(layout, shape)
            trained = archive.trained[record_id]
            due = (_whole(layout, before) + trained) * kept - decoded(
                world, message_of(world, update.payload), shape
            )
            possible = [due]
            if (brought := archive.brought.get(record_id)) is not None:
                left_out, offers = brought
                missing = lacks(world, graph, left_out, update.base) * kept
                possible = [due + missing / w for w in set(_weights(world, key.node, update, offers))]
            offs = [float(np.abs(one - _whole(layout, last)).max()) for one in possible]
            if all(off > 1e-4 * (1.0 + float(np.abs(trained).max())) for off in offs):
                yield f"residual: update {number} of {machine.spec.name} leaves {min(offs):.2g} behind"
        if not _same(last, residuals.tagged(machine.disk, "up", asked.id)):
            yield f"residual: {machine.spec.name} has not kept what its last update left out"


def _whole(layout: Layout, left: Left | None) -> NDArray[np.float64]:
    """What was left out, as numbers of the whole model."""
    if left is None:
        return np.zeros(layout.parameters, np.float64)
    return shaping.spread(layout, left[0], left[1].astype(np.float64))


def _same(one: Left | None, other: Left | None) -> bool:
    if one is None or other is None:
        return one is other
    return one[0] == other[0] and np.array_equal(one[1], other[1])


def _weights(world: World, node: NodeId, update: Update, offers: Sequence[NodeId]) -> Iterator[float]:
    """Of a node's update in a round: by samples, and less than in proportion to its steps, in one of
    the plans that it may have followed. A node that has not heard of others' samples takes them to be its
    own; it had heard of them from the first few of `offers`, or from all."""
    samples = {machine.node: machine.spec.samples for machine in world.machines.values()}
    heard = [{n: samples[n if n in offers[:i] else node] for n in samples} for i in range(len(offers) + 1)]
    for author, plan in world.archive.records.values():
        if not isinstance(plan, Plan) or plan.parent != update.base or author == node:
            continue
        at = next((i for i, a in enumerate(plan.assignments) if a.node == node), None)
        if at is None:
            continue
        work = (*plan.assignments, *plan.stand_ins)
        several = Counter(n for a in work for n in a.data or (a.node,))
        for known in heard:
            held = [sum(max(1, known[n]) / several[n] for n in a.data or (a.node,)) for a in work]
            mean = sum(n * a.steps for n, a in zip(held, work, strict=True)) / sum(held)
            weight = held[at] / sum(held) * min(4.0, (mean / work[at].steps) ** 0.5)
            yield min(1.0, max(0.01, weight))
