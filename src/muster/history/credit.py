"""Whom the updates of a commit count for.

An update that was trained on shared samples counts for the nodes whose samples they are, not for the node
that computed it.  Contributions, the weights of merges and what a planner knows of a node's presence go by
this.  What work costs (steps, bytes, joules) stays with who did it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from muster.history.point import Point
from muster.protocol.ids import NodeId
from muster.protocol.parts import Folded
from muster.protocol.records import Commit


def stood_for(point: Point) -> dict[int, tuple[NodeId, ...]]:
    """By place in `folded`: the nodes for which an update stands in; none for a node's own."""
    record = point.record if point.stand_ins else None
    if not isinstance(record, Commit):
        return {}
    return stood_for_in(record, point.roster)


def stood_for_in(record: Commit, roster: Sequence[NodeId]) -> dict[int, tuple[NodeId, ...]]:
    """`stood_for` of a commit behind which the roster is this."""
    return {s.place: tuple(roster[place] for place in s.data) for s in record.stand_ins}


def credits(point: Point) -> Iterator[tuple[Folded, tuple[NodeId, ...]]]:
    """Each of a commit's updates with the nodes that it counts for; a merge has none."""
    others = stood_for(point)
    for place, folded in enumerate(point.folded):
        yield folded, others.get(place, (folded.node,))


def parts(total: int, nodes: tuple[NodeId, ...]) -> Iterator[tuple[NodeId, int]]:
    """A count split evenly over nodes; what is over goes to the first ones."""
    each, over = divmod(total, len(nodes))
    for place, node in enumerate(nodes):
        yield node, each + (place < over)


def own_of(point: Point) -> list[NodeId]:
    """Whose own updates a commit counts, in their order."""
    return [folded.node for folded, nodes in credits(point) if nodes == (folded.node,)]


def others_of(point: Point) -> list[NodeId]:
    """For whom updates of others stand in, sorted."""
    return sorted({node for nodes in stood_for(point).values() for node in nodes})
