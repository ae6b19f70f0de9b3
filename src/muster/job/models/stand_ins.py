"""For whom an update counts that was trained on shared samples, and for how many of them: pure functions.

It stands in for the nodes whose samples they are.  In one commit a node's own updates replace it, and several
that stand in for one node share that node's weight, so that nobody ever weighs more than what it offered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from muster.job.roles import pieces
from muster.job.view import JobView, KnownUpdate
from muster.protocol.ids import NodeId
from muster.protocol.records import Plan, Update

REPLACED = "it stands in for a node whose own update is counted"
UNASKED = "no plan asks for it to stand in"


def counts_for(updates: Sequence[KnownUpdate]) -> list[tuple[NodeId, ...]]:
    """For each update of one commit the nodes that it counts for: its author, or those that it stands in for
    and that have no own update among these; () where that leaves nobody."""
    own = {u.key.node for u in updates if not u.record.data}
    return [
        tuple(n for n in u.record.data if n not in own) if u.record.data else (u.key.node,) for u in updates
    ]


def samples_of(
    updates: Sequence[KnownUpdate], own: Callable[[NodeId], int], shared: Callable[[NodeId], int]
) -> list[float]:
    """The samples by which each update of one commit weighs, none of which counts for nobody.

    `own(node)`: those that it offered; `shared(node)`: as many of them as others may stand in for.
    """
    nodes = counts_for(updates)
    several = Counter(n for u, named in zip(updates, nodes, strict=True) if u.record.data for n in named)

    def of(update: KnownUpdate, node: NodeId) -> int:
        return own(node) if node == update.key.node else min(own(node), shared(node))

    return [
        sum(of(u, n) / several[n] for n in named) if u.record.data else float(own(u.key.node))
        for u, named in zip(updates, nodes, strict=True)
    ]


def trained_on_pool(update: KnownUpdate) -> bool:
    """Whether an update is of a node that trained on what all share, and on its own data among it."""
    return update.key.node in update.record.data


def is_stand_in(plan: Plan, node: NodeId, update: Update) -> bool:
    """Whether a node's update is one that a plan asks for beside the node's own part."""
    return any(a.node == node and a.data == update.data for a in plan.stand_ins)


def asked_for(view: JobView, update: KnownUpdate) -> bool:
    """Whether an update was trained on what a plan on its base says, as far as plans are known."""
    if not update.record.data:
        return True
    plans = view.plans.get(update.record.base, {}).values()
    return any(a.data == update.record.data for p in plans for a in pieces(p.record, update.key.node))
