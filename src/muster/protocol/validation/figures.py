"""The checks of metrics and figures. A trainer asks the same ones before it reports what it measured."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from muster.protocol.parts import LOSS, Figure, Metric, Target
from muster.protocol.validation.checks import Invalid, ascending, finite, length
from muster.protocol.validation.limits import FIGURE_MAX, METRIC_CHARS_MAX, METRICS_MAX, TARGET_MAX

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.@/-]*")
_SHARES = ("accuracy",)  # metrics whose sum is a part of their count


def metrics(value: Sequence[Metric]) -> None:
    """Names with directions, the loss among them. Raises Invalid."""
    length("metrics", value, 1, METRICS_MAX)
    for metric in value:
        _name(metric.name)
        if metric.best not in ("max", "min"):
            raise Invalid(f"the metric {metric.name}: {metric.best[:20]!r} is neither 'max' nor 'min'")
    ascending("metrics", sorted(metric.name for metric in value))
    if LOSS not in value:
        raise Invalid("metrics: 'loss' with 'min' is not among them")


def target(value: Target, known: Sequence[Metric]) -> None:
    """A value that one of the metrics can come to. Raises Invalid."""
    if value.metric not in {metric.name for metric in known}:
        names = ", ".join(metric.name for metric in known)
        raise Invalid(f"target: there is no metric {value.metric[:METRIC_CHARS_MAX]!r}, there are {names}")
    finite("target", value.value, TARGET_MAX)
    if value.metric in _SHARES and not 0.0 < value.value <= 1.0:
        raise Invalid(f"target: {value.metric} {value.value:g} is not above 0 and at most 1")
    if value.metric == "r2" and value.value > 1.0:
        raise Invalid(f"target: r2 {value.value:g} can never be met: it is at most 1")


def figures(value: Sequence[Figure]) -> None:
    """What was measured, by name. Raises Invalid."""
    length("figures", value, 0, METRICS_MAX)
    for figure in value:
        one_figure(figure.name, figure.sum, figure.count)
    ascending("figures", [figure.name for figure in value])


def one_figure(name: str, total: float, count: float) -> None:
    """Raises Invalid: the metric is named."""
    _name(name)
    if not 0.0 < count <= FIGURE_MAX:  # false for what is no number, too
        raise Invalid(f"{name} was taken of {count:g}: that must be a number above 0")
    if not math.isfinite(total) or abs(total) > FIGURE_MAX or abs(total / count) > FIGURE_MAX:
        raise Invalid(f"{name} is not finite: {total:g} of {count:g}")
    if name in _SHARES and not 0.0 <= total <= count:
        raise Invalid(f"{name} counted {total:.10g} right of {count:.10g}")


def _name(name: str) -> None:
    if len(name) > METRIC_CHARS_MAX or _NAME.fullmatch(name) is None:
        raise Invalid(
            f"a metric's name is up to {METRIC_CHARS_MAX} letters, digits, '_', '.', '@', '/' or '-',"
            " and begins with a letter"
        )
