"""For whom an update counts that was trained on shared samples, and for how many of them: pure functions.

It stands in for the nodes whose samples they are.  In one commit a node's own updates replace it, and several
that stand in for one node share that node's weight, so that nobody ever weighs more than what it offered.
Where helpers, nodes without data, did as much of a node's work, on a model as new, its own are replaced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from muster.job.roles import pieces
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment
from muster.protocol.records import Plan, Update

REPLACED = "it stands in for a node whose own update is counted"
HELPED = "helpers trained in its place, and that is counted"
UNASKED = "no plan asks for it to stand in"


def counts_for(
    updates: Sequence[KnownUpdate], helps: Callable[[NodeId], bool] = lambda node: False
) -> list[tuple[NodeId, ...]]:
    """For each update of one commit the nodes that it counts for: its author, or those that it stands in for
    and that have no own update among these; () where that leaves nobody.

    `helps(node)`: it has no data of its own.
    """
    own: dict[NodeId, tuple[int, int]] = {}
    helped: dict[NodeId, tuple[int, int]] = {}
    for update in updates:
        node, data = update.key.node, update.record.data
        work = update.record.base_round, update.record.steps
        for n in data if node not in data and helps(node) else (node,) if not data else ():
            best = helped if data else own
            best[n] = max(best.get(n, work), work)
    instead = {n for n, work in helped.items() if n in own and work >= own[n]}

    def of(update: KnownUpdate) -> tuple[NodeId, ...]:
        node, data = update.key.node, update.record.data
        if not data:
            return () if node in instead else (node,)
        itself = own.keys() - (instead if helps(node) else ())
        return tuple(n for n in data if n not in itself)

    return [of(u) for u in updates]


def for_momentum(
    updates: Sequence[KnownUpdate], helps: Callable[[NodeId], bool] = lambda node: False
) -> list[KnownUpdate]:
    """Those of one commit's updates whose messages set the momentum of its round: of those that count for
    somebody, what nodes trained on their own data; where there is none, all of them."""
    counted = [u for u, nodes in zip(updates, counts_for(updates, helps), strict=True) if nodes]
    return [u for u in counted if not u.record.data] or counted


def samples_of(
    updates: Sequence[KnownUpdate], nodes: Sequence[Sequence[NodeId]], own: Callable[[NodeId], int],
    shared: Callable[[NodeId], int],
) -> list[float]:  # fmt: skip
    """The samples by which each update of one commit weighs, none of which counts for nobody.

    `nodes`: of each those that it counts for.  `own(node)`: those that it offered; `shared(node)`: as many of
    them as others may stand in for.
    """
    several = Counter(n for u, named in zip(updates, nodes, strict=True) if u.record.data for n in named)

    def of(update: KnownUpdate, node: NodeId) -> float:
        samples = own(node) if node == update.key.node else min(own(node), shared(node))
        return samples / max(1, several[node])

    return [sum(of(u, n) for n in named) for u, named in zip(updates, nodes, strict=True)]


def trained_on_pool(update: KnownUpdate) -> bool:
    """Whether an update is of a node that trained on what all share, and on its own data among it."""
    return update.key.node in update.record.data


def helped(work: Iterable[Assignment | Update]) -> set[NodeId]:
    """Nodes in whose place others do this work, and not beside their own."""
    return {n for w in work for n in w.data if len(w.data) == 1}


def is_stand_in(plan: Plan, node: NodeId, update: Update) -> bool:
    """Whether a node's update is one that a plan asks for beside the node's own part."""
    return any(a.node == node and a.data == update.data for a in plan.stand_ins)


def asked_for(view: JobView, update: KnownUpdate) -> bool:
    """Whether an update was trained on what a plan on its base says, as far as plans are known, or on what
    its author always trains on: its own data, or, where it has none, those of the asker."""
    offer = view.offers.get(update.key.node)
    usual = () if offer is None or offer.samples else (view.asker,)
    if update.record.data in ((), usual):
        return True
    plans = view.plans.get(update.record.base, {}).values()
    return any(a.data == update.record.data for p in plans for a in pieces(p.record, update.key.node))
