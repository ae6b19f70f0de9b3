"""Who coordinates, who may offer, what is open: pure decisions over a view (design section 5.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from muster.history.graph import Point
from muster.job.view import JobView, KnownPlan
from muster.protocol.records import NodeId

ALONE_PATIENCES = 10  # a node that lost all others goes on alone after this many times `patience`

Reachable = Callable[[NodeId], bool]


def coordinator(view: JobView, head: Point, reachable: Reachable) -> NodeId | None:
    """The best-ranked participant that is reachable: by the roster that the head carries, then by id.

    Nobody ranked below it is asked about.
    """
    for node in head.roster:
        if node not in view.refusals and reachable(node):
            return node
    for node in sorted({*view.offers, view.asker}.difference(head.roster)):
        if node not in view.refusals and reachable(node):
            return node
    return None


def min_nodes(view: JobView, head: Point) -> int:
    """Updates of how many nodes a commit needs: 2 once a second node has taken part.

    An offer counts as taking part: else a node that loses everybody in the first round would go on alone.
    """
    taken_part = {s.node for s in head.spent if s.steps} | set(view.offers)
    return max(view.job.min_nodes, 2 if len(taken_part) > 1 else 1)


def open_plans(
    view: JobView, node: NodeId, worked_on: Callable[[bytes], bool], heads: Iterable[Point]
) -> list[KnownPlan]:
    """Plans on one of `heads` that give `node` work which it has not done, the latest round first.

    A round is closed when a commit by the plan's author on the plan's parent is known.
    """
    found = []
    for head in heads:
        if head.id not in view.plans or worked_on(head.id):
            continue
        closed_by = {view.graph.points[c].author for c in view.graph.children.get(head.id, ())}
        for plan in view.plans[head.id].values():
            if plan.author not in closed_by and any(a.node == node for a in plan.record.assignments):
                found.append(plan)
    return sorted(found, key=lambda p: (-p.record.round, p.id))


def newest(points: Iterable[Point]) -> Point | None:
    return max(points, key=lambda p: (p.round, len(p.counted), p.id), default=None)
