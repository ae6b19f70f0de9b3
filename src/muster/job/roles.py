"""Decides over a view, as pure functions: who coordinates, which plans are open, which head counts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from muster.history.point import Point
from muster.job.adapting.ending import UNNEEDED
from muster.job.stop_rule import spent_up
from muster.job.view import JobView, KnownPlan
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment
from muster.protocol.records import Plan

ALONE_PATIENCES = 10  # a node that lost all others goes on alone after this many times `patience`

Reachable = Callable[[NodeId], bool]


def coordinator(view: JobView, head: Point, reachable: Reachable) -> NodeId | None:
    """The best-ranked reachable participant: by the roster that the head carries, then by id.

    `reachable` is not asked about nodes ranked below it.
    """
    for node in _by_rank(view, head):
        if node not in view.refusals and not view.standing.out(node) and reachable(node):
            return node
    return None


def _by_rank(view: JobView, head: Point) -> Iterator[NodeId]:
    """Who may coordinate; as a rule the first is asked only, so those behind the roster are sorted late."""
    yield from head.roster
    yield from sorted({*view.offers, view.asker}.difference(head.roster))


def min_nodes(view: JobView, head: Point, without: Collection[NodeId] = ()) -> int:
    """The number of nodes whose updates a commit needs: at least 2 once a second node has taken part, unless
    that one says that it is out, or has spent what it may. `without`: nodes for which no round fits.

    An offer counts as taking part, or a node that loses all others in the first round would go on alone.
    That of a node without data does not: whoever it helps goes on alone at once.
    """
    taken_part = {s.node for s in head.spent if s.steps} | set(view.offers)
    taken_part -= {node for node, offer in view.offers.items() if not offer.samples}
    taken_part -= {*spent_up(view.job.stop, head.spent), *without}
    taken_part -= {node for node in taken_part if view.why_not(node, head.round + 1) is not None}
    taken_part -= {node for node in taken_part if view.standing.out(node)}
    return max(view.job.min_nodes, 2 if len(taken_part) > 1 else 1)


def open_plans(
    view: JobView, node: NodeId, done: Callable[[Plan, Assignment], bool], heads: Iterable[Point]
) -> list[KnownPlan]:
    """Plans on one of `heads` that give `node` work which is not `done`, the latest round first.

    A round is closed when a commit by the plan's author on the plan's parent is known.
    """
    found = []
    for head in heads:
        if head.id not in view.plans:
            continue
        closed_by = {view.graph.points[c].author for c in view.graph.children.get(head.id, ())}
        for plan in view.plans[head.id].values():
            given = any(not done(plan.record, a) for a in pieces(plan.record, node))
            given = given and view.why_not(node, plan.record.round) is None
            if given and plan.author not in closed_by and plan.record.round == head.round + 1:
                found.append(plan)
    return sorted(found, key=lambda p: (-p.record.round, p.id))


def pieces(plan: Plan, node: NodeId) -> list[Assignment]:
    """What a plan asks of a node, in the order in which it is done: its own part, then its stand-ins."""
    return [a for a in (*plan.assignments, *plan.stand_ins) if a.node == node]


def newest(heads: Iterable[Point]) -> Point:
    """The head with the most rounds: of several, a node trains on this one."""
    return max(heads, key=lambda head: (head.round, head.id))


def finished(view: JobView, heads: Sequence[Point]) -> str | None:
    """Why a job is over for a node that holds `heads`, or None."""
    if heads:
        return view.finished(newest(heads))
    return view.stopped or (UNNEEDED if view.unneeded() else None) or view.given_up
