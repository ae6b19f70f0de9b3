"""Whom the updates of a commit count for.

An update that was trained on shared samples counts for the nodes whose samples they are, not for the node
that computed it.  Contributions, the weights of merges and what a planner knows of a node's presence go by
this.  What work costs (steps, bytes, joules) stays with who did it.
"""

from __future__ import annotations

from collections.abc import Iterator

from muster.protocol.ids import NodeId
from muster.protocol.parts import Folded
from muster.protocol.records import Commit, Merge


def stood_for(record: Commit) -> dict[int, tuple[NodeId, ...]]:
    """By place in `folded`: the nodes for which an update stands in; none for a node's own."""
    return {s.place: tuple(record.roster[place] for place in s.data) for s in record.stand_ins}


def credits(record: Commit | Merge) -> Iterator[tuple[Folded, tuple[NodeId, ...]]]:
    """Each of a commit's updates with the nodes that it counts for; a merge has none."""
    if isinstance(record, Merge):
        return
    others = stood_for(record)
    for place, folded in enumerate(record.folded):
        yield folded, others.get(place, (folded.node,))


def parts(total: int, nodes: tuple[NodeId, ...]) -> Iterator[tuple[NodeId, int]]:
    """A count split evenly over nodes; what is over goes to the first ones."""
    each, over = divmod(total, len(nodes))
    for place, node in enumerate(nodes):
        yield node, each + (place < over)


def own_of(record: Commit | Merge) -> list[NodeId]:
    """Whose own updates a commit counts, in their order."""
    return [folded.node for folded, nodes in credits(record) if nodes == (folded.node,)]


def others_of(record: Commit | Merge) -> list[NodeId]:
    """For whom updates of others stand in, sorted."""
    found = stood_for(record) if isinstance(record, Commit) else {}
    return sorted({node for nodes in found.values() for node in nodes})
