"""What a coordinator says of a round's stand-ins, and for which it still waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from muster.job.context import Context
from muster.job.participant.shared_samples import SharedSamples
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.planning.round_plan import RoundPlan
from muster.planning.rounds import Missing
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment
from muster.protocol.records import Plan

NAMED_MAX = 4


def why(context: Context, view: JobView, stand_ins: Sequence[Assignment]) -> str:
    """The rest of a plan's sentence: "; b is away: its 100 samples stand in"."""
    nodes = [n for a in stand_ins for n in a.data if n in view.shared]
    named = (
        f"; {context.name_of(n)} is away: its {view.shared[n].samples} samples stand in"
        for n in nodes[:NAMED_MAX]
    )
    more = len(nodes) - NAMED_MAX
    return "".join(named) + (f"; so do those of {more} more" if more > 0 else "")


def waited_for(context: Context, view: JobView, plan: Plan, here: Sequence[KnownUpdate]) -> list[NodeId]:
    """Who is still to train in the place of others, of whom no update of their own has come.

    `here`: the updates that are held.
    """
    own, made = {u.key.node for u in here if not u.record.data}, _made(plan, here)
    due = (a for a in plan.stand_ins if (a.node, a.data) not in made and not own.issuperset(a.data))
    samples = SharedSamples(context, view)
    return sorted({a.node for a in due if samples.all_ready(a)})


def missing(context: Context, trainer: Missing) -> Missing:
    """One that is still to train in the place of others: of this node's own trainer it is known that it gets
    on, however busy the machine is."""
    return replace(trainer, progress_age_s=0.0) if trainer.node == context.node else trainer


def covered(context: Context, view: JobView, plan: Plan, here: Sequence[KnownUpdate]) -> set[NodeId]:
    """Nodes in whose place an update is here, or is to come: for their own no round waits."""
    made, samples = _made(plan, here), SharedSamples(context, view)
    return {n for a in plan.stand_ins if (a.node, a.data) in made or samples.all_ready(a) for n in a.data}


def kept(plan: RoundPlan, before: Sequence[Assignment]) -> tuple[Assignment, ...]:
    """The stand-ins of a plan that replaces one with those `before`: these stay, but for nodes that have work
    now."""
    assigned = {a.node for a in plan.round.assignments}
    stay = {a.data: a for a in before if not assigned.issuperset(a.data)}
    return tuple(sorted(({a.data: a for a in plan.stand_ins} | stay).values(), key=_order))


def _made(plan: Plan, here: Sequence[KnownUpdate]) -> set[tuple[NodeId, tuple[NodeId, ...]]]:
    return {(u.key.node, u.record.data) for u in here if u.record.base == plan.parent}


def _order(assignment: Assignment) -> tuple[tuple[NodeId, ...], NodeId]:
    return assignment.data, assignment.node
