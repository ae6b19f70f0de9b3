"""Judges stand-ins: nobody counts twice, or weighs more than what it offered (for invariants.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from muster.history.graph import Graph
from muster.history.point import Point
from muster.protocol.ids import NodeId, short
from muster.protocol.parts import Folded
from muster.protocol.records import Commit, Plan, Shared, Update
from muster.simulation.world import Asked, World

OFF_MAX = 1e-6  # relative


def stood_in(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """What is wrong with the stand-ins of a job."""
    updates = {
        (author, r.incarnation, r.sequence): r
        for author, r in world.archive.records.values()
        if isinstance(r, Update) and r.job == asked.id
    }
    wanted = {
        (r.parent, a.node, a.data)
        for _, r in world.archive.records.values()
        if isinstance(r, Plan) and r.job == asked.id
        for a in (*r.assignments, *r.stand_ins)
    }
    made = Counter((author, life, r.base, r.data) for (author, life, _), r in updates.items())
    for (author, _, base, data), count in made.items():
        if count > 1 and data:
            yield f"stand-ins: {_name(world, author)} trained {count} times the same on {short(base)}"
        if data and (base, author, data) not in wanted:
            yield f"stand-ins: nobody asked {_name(world, author)} to stand in on {short(base)}"
    for author, r in world.archive.records.values():
        if isinstance(r, Shared) and r.job == asked.id and r.payload.blob is not None:
            keep = [m.spec.name for m in world.standing() if m.disk.has_blob(r.payload.blob)]
            if keep:
                yield f"stand-ins: {keep[0]} keeps the samples of {_name(world, author)} after the end"
    for point in graph.points.values():
        record = point.record
        if isinstance(record, Commit) and record.folded:
            yield from _of_commit(world, point, record, updates)


def _of_commit(
    world: World, point: Point, record: Commit, updates: dict[tuple[NodeId, int, int], Update]
) -> Iterator[str]:
    others = {s.place: {point.roster[place] for place in s.data} for s in record.stand_ins}
    own = {f.node for place, f in enumerate(record.folded) if place not in others}
    for place, f in enumerate(record.folded):
        data = set(updates[f.node, f.incarnation, f.sequence].data)
        nodes = others.get(place, set())
        helps = world.by_node[f.node].spec.samples == 0 and f.node not in data
        if data - (set() if helps else own) - {f.node} != nodes - {f.node}:
            yield f"stand-ins: {short(point.id)} counts an update for others than those it was trained for"
        if nodes & own:
            yield f"stand-ins: {short(point.id)} counts a node and a stand-in for it"
    fresh = {
        place: f
        for place, f in enumerate(record.folded)
        if updates[f.node, f.incarnation, f.sequence].base == record.parents[0]
    }
    yield from _heavy(world, point, fresh, others)


def _heavy(
    world: World, point: Point, fresh: dict[int, Folded], others: dict[int, set[NodeId]]
) -> Iterator[str]:
    """Stand-ins against their author's own update, by samples and steps: fewer steps weigh more, by the root
    of how many fewer at most. `fresh`: by place, those that were made on top of the commit's parent."""
    # of a revoked node nobody knows any more how many samples it offered
    own = {
        f.node: f for place, f in fresh.items() if place not in others and not world.by_node[f.node].revoked
    }
    for place, nodes in others.items():
        stand_in = fresh.get(place)
        if stand_in is None or stand_in.node not in own or stand_in.node in nodes:
            continue
        mine = own[stand_in.node]
        offered = sum(world.by_node[n].spec.samples for n in nodes)
        times = max(1.0, (mine.steps / stand_in.steps) ** 0.5)
        most = times * offered / world.by_node[mine.node].spec.samples
        if stand_in.weight > mine.weight * most * (1.0 + OFF_MAX):
            yield f"stand-ins: {short(point.id)} gives one {stand_in.weight:.3g}, more than its nodes have"

    samples = {n: machine.spec.samples for n, machine in world.by_node.items()}
    helped: dict[NodeId, list[Folded]] = {}
    for place, nodes in others.items():
        if place in fresh and not samples[fresh[place].node] and len(nodes) == 1:
            helped.setdefault(next(iter(nodes)), []).append(fresh[place])
    for node, work in helped.items():
        weight, least = sum(f.weight for f in work), min(f.steps for f in work)
        for mine in own.values():
            times = max(1.0, (mine.steps / least) ** 0.5)
            if weight > mine.weight * times * samples[node] / samples[mine.node] * (1.0 + OFF_MAX):
                yield f"stand-ins: {short(point.id)} gives the helpers of one {weight:.3g}, more than it has"


def _name(world: World, node: NodeId) -> str:
    return world.by_node[node].spec.name
