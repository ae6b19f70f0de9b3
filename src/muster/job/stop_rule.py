"""Decides from a head alone whether it ends its job."""

from __future__ import annotations

from dataclasses import dataclass

from muster.history.graph import Point
from muster.protocol.records import StopRule

ROUNDS_MAX = 10_000  # of a job: its history in memory is some 5 kB a round


@dataclass(frozen=True)
class Figures:
    """A pooled evaluation of one commit."""

    examples: int
    correct: int
    loss_sum: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.examples

    @property
    def loss(self) -> float:
        return self.loss_sum / self.examples


def ends_without_figures(rule: StopRule) -> bool:
    """Whether anything but a target ends the job."""
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


def finished_by(rule: StopRule, point: Point, figures: Figures | None) -> str | None:
    """Why a head with these figures ends its job, in one sentence, or None."""
    if point.round >= ROUNDS_MAX:
        return f"{point.round} rounds are the most that a job can have: start the next one from its model"
    if rule.rounds is not None and point.round >= rule.rounds:
        return f"{point.round} rounds done"
    if rule.target is not None and figures is not None and figures.accuracy >= rule.target:
        return f"target reached: accuracy {figures.accuracy:.3f}"
    if rule.seconds is not None and point.age_s >= rule.seconds:
        return f"{rule.seconds:.0f} s are over"
    if rule.bytes is not None and sum(s.bytes for s in point.spent) >= rule.bytes:
        return f"{rule.bytes} bytes are spent"
    return None
