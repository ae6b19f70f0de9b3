"""The metrics that a task declares, and whether figures that it reports can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from muster.learning.faults import TaskFault
from muster.learning.task import Task
from muster.protocol.parts import CLASSES, LOSS, Metric
from muster.protocol.validation import figures as rules
from muster.protocol.validation.checks import Invalid

Sums = dict[str, tuple[float, float]]

# What a task may measure without saying which is better; the first one of these is its headline.
KNOWN = (Metric("perplexity", "min", True), *CLASSES[:1], Metric("r2", "max"), Metric("mae", "min"), LOSS)


def declared(task: Task, measured: Iterable[str] = ("accuracy",)) -> tuple[Metric, ...]:
    """The task's metrics, the headline first, always with the loss. Raises TaskFault.

    Where the task names none: those `measured` that everybody knows, in the order of `KNOWN`.
    """
    if task.metrics is None:
        names = {*measured, LOSS.name}
        return tuple(metric for metric in KNOWN if metric.name in names)
    found = tuple(_metric(name, best) for name, best in task.metrics.items())
    found += () if any(metric.name == LOSS.name for metric in found) else (LOSS,)
    try:
        rules.metrics(found)
    except Invalid as error:
        raise TaskFault(str(error)) from error
    return found


def _metric(name: Any, best: Any) -> Metric:
    if isinstance(best, str) and best in ("max", "min"):
        return Metric(str(name), best)
    if isinstance(best, tuple | list) and len(best) == 2 and best[0] in ("max", "min") and best[1] == "exp":
        return Metric(str(name), best[0], True)
    raise TaskFault(f'metrics: {name} must be "max", "min" or ("min", "exp"), not {best!r}')


def checked(figures: Mapping[str, tuple[float, float]], known: Sequence[Metric]) -> Sums:
    """The figures as they are reported, without those that were taken of nothing.

    What the default hooks measure beside the metrics that a task declares is left out.  Raises TaskFault for
    a figure that cannot be, or of another name that the task does not declare: it is named.
    """
    names = [metric.name for metric in known]
    beside = {metric.name for metric in KNOWN} - set(names)
    found: Sums = {}
    for name, (total, count) in figures.items():
        if name not in names and name not in beside:
            raise TaskFault(
                f"the task measured {name!r}, but its metrics are {', '.join(names)}: add it there, with "
                "'max' or 'min'"
            )
        if count == 0 or name in beside:
            continue
        try:
            rules.one_figure(name, float(total), float(count))
        except Invalid as error:
            raise TaskFault(f"evaluation: {error}") from error
        found[name] = float(total), float(count)
    return found
