"""Decides from a head alone whether it ends its job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from muster.history.graph import Graph
from muster.history.point import Point
from muster.job.figures import Figures, Standstill
from muster.planning.pruning import pruning_over
from muster.protocol.ids import NodeId
from muster.protocol.metrics import as_text, reaches
from muster.protocol.parts import Metric, Spent, StopRule
from muster.protocol.quantities import energy_text, size_text
from muster.protocol.records import Commit, Job

ROUNDS_MAX = 10_000  # of a job: its history in memory is some 12 kB a round of 300 nodes


def needs_figures(rule: StopRule) -> bool:
    """Whether what is measured may end the job."""
    return rule.target is not None or rule.stale is not None


def ends_without_figures(rule: StopRule) -> bool:
    """Whether anything but what is measured ends the job."""
    return rule.rounds is not None or has_budget(rule)


def has_budget(rule: StopRule) -> bool:
    """Whether time, bytes or energy end the job."""
    budgets = (rule.seconds, rule.bytes, rule.joules, rule.bytes_node, rule.joules_node)
    return any(budget is not None for budget in budgets)


def has_parts(rule: StopRule) -> bool:
    """Whether each node may spend so much and no more."""
    return rule.bytes_node is not None or rule.joules_node is not None


def spent_up(rule: StopRule, spent: Iterable[Spent]) -> list[NodeId]:
    """Nodes that have spent what any one node may."""
    return [s.node for s in spent if _spent_up(rule, s)] if has_parts(rule) else []


def _spent_up(rule: StopRule, s: Spent) -> bool:
    of_bytes = rule.bytes_node is not None and s.bytes >= rule.bytes_node
    return of_bytes or (rule.joules_node is not None and s.joules >= rule.joules_node)


def part_of_each(rule: StopRule) -> str:
    """What any one node may spend: "the 20 kB or 500 J that each may"."""
    parts = [size_text(rule.bytes_node)] if rule.bytes_node is not None else []
    parts += [energy_text(rule.joules_node)] if rule.joules_node is not None else []
    return f"the {' or '.join(parts)} that each may"


def ends_with(job: Job, round_: int, age_s: float, spent: Sequence[Spent], roster: Sequence[NodeId]) -> bool:
    """Whether a commit of this round, age and spending ends the job, as far as that is known before it is
    measured."""
    return _used_up(job, round_, age_s, spent, roster) is not None


def judged(job: Job, round_: int) -> bool:
    """Whether what is measured of a round may end the job: not before its model is as small as asked for."""
    return needs_figures(job.stop) and pruning_over(job.prune, round_)


def target_reached(rule: StopRule, metrics: Sequence[Metric], figures: Figures | None) -> bool:
    """Whether a head with these figures has come to the job's target."""
    if rule.target is None or figures is None:
        return False
    return any(
        reaches(m, figures.value(m), rule.target.value) for m in metrics if m.name == rule.target.metric
    )


def finished_by(
    job: Job, point: Point, figures: Figures | None, still: Standstill | None = None, over: str = ""
) -> str | None:
    """Why a head with these figures, and with this standstill behind it, ends its job, or None.

    `over`: why its coordinator said that nothing more fits into the job's budget.
    """
    rule, metrics = job.stop, job.metrics
    if rule.target is not None and figures is not None and target_reached(rule, metrics, figures):
        reached = figures.values(metrics)[rule.target.metric]
        return f"target reached: {rule.target.metric} {as_text(rule.target.metric, reached)}"
    limit = _used_up(job, point.round, point.age_s, point.spent, point.roster)
    if limit is None and rule.stale is not None and still is not None and still.rounds >= rule.stale:
        name = metrics[0].name
        best = f"{name} {as_text(name, still.best)} in round {still.best_round}"
        return f"no better for {still.rounds} round{'s' * (still.rounds > 1)}: the best was {best}"
    return limit or (over if has_budget(rule) else None) or None


def over_of(point: Point) -> str:
    """Why the coordinator said with a commit that nothing more fits into the job's budget; "": it did not."""
    return point.record.over if isinstance(point.record, Commit) else ""


def over_behind(graph: Graph, point: Point) -> str:
    """The same of a head; commits that count nothing, behind the one that said so, change nothing of it."""
    while not (over_of(point) or point.updates or point.is_merge) and point.parents:
        point = graph.points[point.parents[0]]
    return over_of(point)


def _used_up(
    job: Job, round_: int, age_s: float, spent: Sequence[Spent], roster: Sequence[NodeId]
) -> str | None:
    """Which limit is reached, in a sentence, or None."""
    rule = job.stop
    if round_ >= ROUNDS_MAX:
        return f"{round_} rounds are the most that a job can have: start the next one from its model"
    if rule.rounds is not None and round_ >= rule.rounds:
        return f"{round_} rounds done"
    if rule.seconds is not None and age_s >= rule.seconds:
        return f"{rule.seconds:.0f} s are over"
    if rule.bytes is not None and (bytes_ := sum(s.bytes for s in spent)) >= rule.bytes:
        return f"{size_text(bytes_)} of {size_text(rule.bytes)} spent"
    if rule.joules is not None and (joules := sum(s.joules for s in spent)) >= rule.joules:
        return f"{energy_text(joules)} of {energy_text(rule.joules)} spent"
    return _nobody_left(job, spent, roster)


def _nobody_left(job: Job, spent: Sequence[Spent], roster: Sequence[NodeId]) -> str | None:
    """Whether fewer nodes of the roster than a round takes have any left of what each may spend."""
    gone = set(spent_up(job.stop, spent)) & set(roster) if has_parts(job.stop) else set()
    if not gone or len(roster) - len(gone) >= max(1, job.min_nodes):
        return None
    part = part_of_each(job.stop)
    if len(gone) == len(roster):
        return f"all {len(gone)} nodes have spent {part}" if len(gone) > 1 else f"its node has spent {part}"
    have = "has" if len(gone) == 1 else "have"
    return f"{len(gone)} of {len(roster)} nodes {have} spent {part}, and a round takes {job.min_nodes}"
