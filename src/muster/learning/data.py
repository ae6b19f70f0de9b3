"""A node's samples: what its task returns, some of it held out where the nodes have nothing in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from muster.learning.faults import TaskFault
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.source import Source, as_source
from muster.learning.task import Task

HOLDOUT_SHARE = 0.1


@dataclass(frozen=True)
class TaskData:
    """`own` is trained on. `held_out`: of the node's own, where there is no `common` set; None: none is.

    `borrowed`: this node has no data. Then `own` are samples of `common`, which only show what one looks like
    and are never trained on.
    """

    own: Source
    held_out: Source | None
    common: Source | None
    skipped: int = 0  # rows that hold NaN and are left out, as the task wants it
    borrowed: bool = False


def open_data(task: Task) -> TaskData:
    """The task's data, looked at. Raises TaskFault, and what the task's own code raises."""
    own: Source | None = None
    skipped = 0
    if task.settings.own_data and task.overrides("training_data"):
        own, skipped = _sound(task, task.training_data(), "training_data")
        if own.size == 0 and skipped:
            raise TaskFault(f"training_data() returned no samples but {skipped} that hold NaN")
    given = task.evaluation_data()
    if own is None or own.size == 0:
        return _without_own(task, given)
    if given is not None:
        common, bad_common = _sound(task, given, "evaluation_data")
        return TaskData(own, None, common if common.size != 0 else None, skipped + bad_common)
    kept, held_out = own.split(HOLDOUT_SHARE, task.seed)
    return TaskData(kept, held_out, None, skipped)


def _without_own(task: Task, given: Any) -> TaskData:
    """The data of a node that has none to train on: evaluation_data() shows what a sample looks like."""
    common, skipped = (None, 0) if given is None else _sound(task, given, "evaluation_data")
    if common is None or common.size == 0:
        raise TaskFault(
            "there is no training data on this node: to help others on samples that they share, it needs"
            " samples of evaluation_data(), which show what one looks like"
        )
    return TaskData(common, None, common, skipped, borrowed=True)


def _sound(task: Task, given: Any, what: str) -> tuple[Source, int]:
    source = as_source(given, what)
    return source.sound(what, skip=task.skip_bad_rows) if isinstance(source, ArraySource) else (source, 0)
