"""Judges joules: commits add up what updates say, and nobody says more than it used (for invariants.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from muster.history.counted import Key
from muster.history.graph import Graph
from muster.history.point import Point
from muster.protocol.ids import NodeId, short
from muster.protocol.records import Commit, Update
from muster.simulation.world import Asked, World

OFF_MAX = 1e-9  # relative: sums in another order


def added_up(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """The joules of each commit are its parent's and those of the updates that it counts; a merge has the
    larger of its parents' for each node. So no history ever goes back."""
    said: dict[Key, int] = {}
    for author, record in world.archive.records.values():
        if isinstance(record, Update) and record.job == asked.id:
            said[Key(author, record.incarnation, record.sequence)] = record.millijoules
    for point in graph.points.values():
        parents = [graph.points[p] for p in point.parents]
        if len(parents) < len(point.parents) or not parents:
            continue
        want = {node: max(_joules(p).get(node, 0.0) for p in parents) for p in parents for node in _joules(p)}
        if isinstance(point.record, Commit):
            for f in point.record.folded:
                more_j = said[Key(f.node, f.incarnation, f.sequence)] / 1000
                want[f.node] = want.get(f.node, 0.0) + more_j
        for node, joules in _joules(point).items():
            if abs(joules - want.get(node, 0.0)) > OFF_MAX * (1.0 + joules):
                yield (
                    f"energy: {short(point.id)} says {joules:g} J of {short(node)}, its updates come to "
                    f"{want.get(node, 0.0):g} J"
                )


def _joules(point: Point) -> dict[NodeId, float]:
    return {s.node: s.joules for s in point.spent}


def no_more_than_used(world: World) -> Iterator[str]:
    """Every update of a node that knows what it draws says something; all of them together no more than the
    node used. Who knows nothing says nothing."""
    total: Counter[NodeId] = Counter()
    for author, record in world.archive.records.values():
        if isinstance(record, Update):
            total[author] += record.millijoules
            if (record.millijoules > 0) != (world.by_node[author].spec.power is not None):
                yield f"energy: an update of {world.by_node[author].spec.name} says {record.millijoules} mJ"
    for node, millijoules in total.items():
        used_j = world.by_node[node].used_j()
        if millijoules > 1000 * used_j + 1:
            name = world.by_node[node].spec.name
            yield f"energy: the updates of {name} say {millijoules / 1000:g} J, it used {used_j:g} J"
