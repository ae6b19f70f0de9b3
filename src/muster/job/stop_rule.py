"""Decides from a head alone whether it ends its job."""

from __future__ import annotations

from collections.abc import Sequence

from muster.history.graph import Point
from muster.job.figures import Figures, Standstill
from muster.protocol.metrics import as_text, reaches
from muster.protocol.records import Metric, StopRule

ROUNDS_MAX = 10_000  # of a job: its history in memory is some 5 kB a round


def needs_figures(rule: StopRule) -> bool:
    """Whether what is measured may end the job."""
    return rule.target is not None or rule.stale is not None


def ends_without_figures(rule: StopRule) -> bool:
    """Whether anything but what is measured ends the job."""
    return rule.rounds is not None or rule.seconds is not None or rule.bytes is not None


def ends_with(rule: StopRule, round_: int, age_s: float, spent_bytes: int) -> bool:
    """Whether a commit of this round, age and spending ends the job, as far as that is known before it is
    measured."""
    return (
        round_ >= ROUNDS_MAX
        or (rule.rounds is not None and round_ >= rule.rounds)
        or (rule.seconds is not None and age_s >= rule.seconds)
        or (rule.bytes is not None and spent_bytes >= rule.bytes)
    )


def target_reached(rule: StopRule, metrics: Sequence[Metric], figures: Figures | None) -> bool:
    """Whether a head with these figures has come to the job's target."""
    if rule.target is None or figures is None:
        return False
    return any(
        reaches(m, figures.value(m), rule.target.value) for m in metrics if m.name == rule.target.metric
    )


def finished_by(
    rule: StopRule,
    metrics: Sequence[Metric],
    point: Point,
    figures: Figures | None,
    still: Standstill | None = None,
) -> str | None:
    """Why a head with these figures, and with this standstill behind it, ends its job, or None."""
    if point.round >= ROUNDS_MAX:
        return f"{point.round} rounds are the most that a job can have: start the next one from its model"
    if rule.rounds is not None and point.round >= rule.rounds:
        return f"{point.round} rounds done"
    if rule.target is not None and figures is not None and target_reached(rule, metrics, figures):
        reached = figures.values(metrics)[rule.target.metric]
        return f"target reached: {rule.target.metric} {as_text(rule.target.metric, reached)}"
    if rule.stale is not None and still is not None and still.rounds >= rule.stale:
        name = metrics[0].name
        best = f"{name} {as_text(name, still.best)} in round {still.best_round}"
        return f"no better for {still.rounds} round{'s' * (still.rounds > 1)}: the best was {best}"
    if rule.seconds is not None and point.age_s >= rule.seconds:
        return f"{rule.seconds:.0f} s are over"
    if rule.bytes is not None and sum(s.bytes for s in point.spent) >= rule.bytes:
        return f"{rule.bytes} bytes are spent"
    return None
