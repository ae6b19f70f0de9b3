"""Derives the planner's state at a head from the commits behind it, and keeps the newest ones."""

from __future__ import annotations

from collections import OrderedDict

from muster.history.credit import stood_for
from muster.history.graph import Graph
from muster.history.point import Point
from muster.planning import state as planner
from muster.planning import steps
from muster.planning.state import PlannerState, Shown, ShownUpdate
from muster.protocol.ids import CommitId
from muster.protocol.records import Commit

KEPT = 64  # of them: that many commits back a state is derived from the one before


class PlannerStates:
    """The planner's state at each commit of one job."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: OrderedDict[CommitId, PlannerState] = OrderedDict()

    def at(self, head: Point) -> PlannerState:
        """The state when a round is planned on `head`."""
        pending = [head]
        found: dict[CommitId, PlannerState] = {}
        while pending:
            point = pending[-1]
            if point.id in found:
                pending.pop()
                continue
            if point.id in self._known:
                self._known.move_to_end(point.id)
                found[point.id] = self._known[point.id]
                continue
            missing = [self._graph.points[p] for p in point.parents if p not in found]
            if missing:
                pending += missing
                continue
            found[point.id] = self._known[point.id] = _state(point, [found[p] for p in point.parents])
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found[head.id]


def _state(point: Point, before: list[PlannerState]) -> PlannerState:
    if not before:
        return planner.init()
    if len(before) == 2:
        a, b = before
        return planner.merged(a, b, steps.merged(a.steering, b.steering))
    return planner.observe(before[0], shown(point))


def shown(point: Point) -> Shown:
    """What a commit shows of the round that it closed."""
    record = point.record
    assert isinstance(record, Commit)
    others = stood_for(point)
    # one that stood in beside its author's own part says nothing of what a round costs that node
    updates = tuple(
        ShownUpdate(f.node, f.steps, f.staleness, cost, place in others)
        for place, (f, cost) in enumerate(zip(record.folded, record.costs, strict=False))
        if place not in others or cost.turnaround_ms
    )
    stood_in = frozenset(n for nodes in others.values() for n in nodes)
    missed = tuple(point.roster[place] for place in record.missed)
    codec, size_bytes = None, record.params_bytes
    if record.delta is not None:
        codec, size_bytes = record.delta.codec, record.delta.size_bytes
    return Shown(record.round, updates, missed, record.steering, codec, size_bytes, stood_in)
