"""Plans whose shared samples the coordinator trains on in a round, in the place of nodes that miss it.

    with_stand_ins(plan, job, state, coordinator, absent, left, judged) -> RoundPlan

A pure function, as all of a plan: of the records, and of who is away as the coordinator sees it.  A node that
is in nearly every round needs none.  One that misses over a fifth of them, or was never in one, does: what it
alone holds is else forgotten between its visits, or never learnt (bench/coresets/standins.py).

The coordinator does it beside its own part, one after another, in the time that the round takes anyway, or in
as long as its own part takes if that is more.  Who was neither counted nor stood in for longest goes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from muster.planning.codec_choice import DENSE
from muster.planning.costs import Left, Usage
from muster.planning.policy import Candidate
from muster.planning.round_plan import RoundPlan
from muster.planning.rounds import STEPS_SHARE_MIN, Resources
from muster.planning.state import NodeState, PlannerState
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment
from muster.protocol.records import Job

MISSED_SHARE = 0.2  # of the rounds: who misses more is stood in for
MISSED_BY_ASSIGNED = (
    0.5  # the same of one that a round has work for: its own update mostly does not come in time
)
NEVER_IN = 2  # rounds that had work for a node which none has counted yet: it is very slow
SAMPLES_MIN = 15  # that are worth a stand-in: about so many of a class teach it


@dataclass(frozen=True)
class Absent:
    """A node whose shared samples the coordinator holds, and that a round may miss.

    `here_share`: of the time in which it is in reach, as it came and went so far.  `heard_once`: since it
    came, so that perhaps somebody met it and brought its heartbeat, and it is out of reach.
    """

    node: NodeId
    samples: int
    here_share: float = 1.0
    heard_once: bool = False


def with_stand_ins(
    plan: RoundPlan, job: Job, state: PlannerState, coordinator: Candidate | None, absent: Sequence[Absent],
    left: Left, *, judged: bool,
) -> RoundPlan:  # fmt: skip
    """The same round with stand-ins, as far as they are wanted and fit.

    `coordinator`: as a candidate of the round; None where it does not train.  `judged`: the model is measured
    on a set that is the same for all nodes, so that its loss says whether stand-ins do good.
    """
    assigned = {a.node for a in plan.round.assignments}
    helped = {n for a in plan.round.assignments for n in a.data}
    absent = [a for a in absent if a.node not in helped]
    due = [a for a in absent if _wanted(job.share, a, state, assigned=a.node in assigned, judged=judged)]
    if coordinator is None or not due or plan.last:
        return plan
    due.sort(key=lambda a: (_served(state, a.node), a.node))
    mine = next(r for r in plan.resources if r.node == coordinator.node)
    own = next(a.steps for a in plan.round.assignments if a.node == coordinator.node)
    if not job.recipe.steps:  # what a fast node does beyond the others is worth less than what nobody does
        own = min(own, plan.tau)
    wanted = len(due)
    while wanted:
        wanted, steps = fitting(_room_s(plan, mine, own) / mine.step_s, plan.tau, wanted)
        if not wanted:
            break
        found = _extended(plan, mine, own, steps, due[:wanted], coordinator)
        if found.usage.fits(left) and _affords(found, coordinator):
            return found
        wanted -= 1
    return plan


def fitting(room: float, tau: int, wanted: int) -> tuple[int, int]:
    """How many stand-ins of those `wanted` fit into so many steps in all, and the steps of each: those of the
    median node, or fewer so that more fit, but a quarter of them at least."""
    least = max(1, math.ceil(STEPS_SHARE_MIN * tau))
    count = min(wanted, int(room / least + 1e-9))
    return (count, min(tau, int(room / count + 1e-9))) if count else (0, 0)


def _wanted(share: str, absent: Absent, state: PlannerState, *, assigned: bool, judged: bool) -> bool:
    known = state.nodes.get(absent.node, NodeState())
    if assigned:
        never_in = absent.heard_once or known.missed >= NEVER_IN
        rare = 1.0 - known.here > MISSED_BY_ASSIGNED if known.round else never_in
        return share != "none" and rare
    if share != "auto":
        return share == "always"
    rare = 1.0 - min(known.here, absent.here_share) > MISSED_SHARE
    return rare and absent.samples >= SAMPLES_MIN and not (judged and state.trial.resting)


def _served(state: PlannerState, node: NodeId) -> int:
    """The newest round in which a node was counted, or stood in for."""
    known = state.nodes.get(node, NodeState())
    return max(known.round, known.stood_in)


def _room_s(plan: RoundPlan, mine: Resources, own: int) -> float:
    """Seconds for stand-ins: what the round leaves beside the coordinator's own steps, or as long again."""
    return max(plan.round.expected_s - mine.expected_s(own), own * mine.step_s)


def _extended(
    plan: RoundPlan, mine: Resources, own: int, steps: int, due: Sequence[Absent], coordinator: Candidate
) -> RoundPlan:
    """The plan with so many steps for each that is due, and `own` ones of the coordinator's part."""
    node, all_steps = coordinator.node, own + steps * len(due)
    assignments = tuple(
        Assignment(node, own, a.codec, a.data) if a.node == node else a for a in plan.round.assignments
    )
    before = next(a.steps for a in plan.round.assignments if a.node == node)
    round_ = replace(
        plan.round, assignments=assignments,
        expected_s=max(plan.round.expected_s, mine.expected_s(all_steps)),
        deadline_s=max(plan.round.deadline_s, mine.late_at_s(all_steps)),
    )  # fmt: skip
    watts = coordinator.power.train_w - coordinator.power.idle_w if coordinator.power is not None else 0.0
    more_j = max(0.0, watts * (all_steps - before) * mine.step_s)
    usage = Usage(round_.expected_s, plan.usage.bytes, plan.usage.joules + more_j)
    stand_ins = tuple(sorted((Assignment(node, steps, DENSE, (a.node,)) for a in due), key=_order))
    joules = {**plan.joules, node: plan.joules[node] + more_j}
    return replace(plan, round=round_, usage=usage, joules=joules, stand_ins=stand_ins)


def _affords(plan: RoundPlan, coordinator: Candidate) -> bool:
    left_j = coordinator.left.joules
    return left_j is None or plan.joules[coordinator.node] <= left_j


def _order(assignment: Assignment) -> tuple[tuple[NodeId, ...], NodeId]:
    return assignment.data, assignment.node
