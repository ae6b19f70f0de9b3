"""What the value of a metric is worth: by its name and its direction."""

from __future__ import annotations

import math
from typing import Protocol

EXPONENT_MAX = 700.0  # of what is shown as exp(mean): the result stays finite


class Directed(Protocol):
    """A metric's direction: `records.Metric` and `node.api.snapshot.MetricView` have it."""

    @property
    def best(self) -> str: ...
    @property
    def exp(self) -> bool: ...


def shown(metric: Directed, mean: float) -> float:
    """A mean in the unit that people see."""
    return math.exp(min(EXPONENT_MAX, mean)) if metric.exp else mean


def score(metric: Directed, value: float | None) -> float:
    """A value such that more is better, whatever the metric's direction; the least where there is none."""
    if value is None:
        return -math.inf
    return value if metric.best == "max" else -value


def reaches(metric: Directed, value: float | None, target: float) -> bool:
    """Whether a value is the target or better."""
    return value is not None and score(metric, value) >= score(metric, target)


def is_share(name: str) -> bool:
    """Whether a metric is given in percent."""
    return name.endswith("accuracy")


def as_text(name: str, value: float) -> str:
    """A metric's value in a sentence: shares with three digits behind the point, others with four in all."""
    return f"{value:.3f}" if is_share(name) else f"{value:.4g}"
