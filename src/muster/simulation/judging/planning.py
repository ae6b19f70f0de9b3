"""Judges plans: each is the one that any other holder of the same head would have made of the same nodes.

What its coordinator saw of the moment (offers, who is busy, what is left) is archived with it; the state is
derived here, from the records of the whole world.
"""

from __future__ import annotations

from collections.abc import Iterator

from muster.history.graph import Graph
from muster.job.coordinator.planner_states import PlannerStates
from muster.planning.round_plan import RoundPlan
from muster.protocol.ids import NodeId, short
from muster.protocol.records import Plan
from muster.simulation.world import Asked, World


def planned(world: World, asked: Asked, graph: Graph) -> Iterator[str]:
    """What is wrong with the plans of a job."""
    states = PlannerStates(graph)
    before: dict[tuple[bytes, NodeId, int], set[NodeId]] = {}
    instead_of: dict[tuple[bytes, NodeId, int], set[tuple[NodeId, ...]]] = {}
    records = world.archive.records
    plans = [(i, *records[i]) for i in world.archive.planned if records[i][1].job == asked.id]  # type: ignore[union-attr]
    for _, author, record in plans:
        assert isinstance(record, Plan)
        before[record.parent, author, record.number] = {a.node for a in record.assignments}
        instead_of[record.parent, author, record.number] = {a.data for a in record.stand_ins}
    for plan_id, author, record in plans:
        assert isinstance(record, Plan)
        if record.parent not in graph.points:
            continue
        state = states.at(graph.points[record.parent])
        found = world.archive.planned[plan_id].planned(state, replaces=record.number > 0)
        if not isinstance(found, RoundPlan) or found.last:
            continue  # those that fitted into what was left were made of more nodes
        given = before.get((record.parent, author, record.number - 1), set())  # these keep what they had
        theirs = {a.node: (a.steps, a.codec) for a in record.assignments if a.node not in given}
        ours = {a.node: (a.steps, a.codec) for a in found.round.assignments if a.node not in given}
        instead = instead_of.get((record.parent, author, record.number - 1), set())
        if theirs != ours or {a for a in record.stand_ins if a.data not in instead} != {
            a for a in found.stand_ins if a.data not in instead
        }:
            yield f"planned: {short(plan_id)} of round {record.round} is not what another would have planned"
