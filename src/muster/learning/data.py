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
    """`own` is trained on. `held_out`: of the node's own, where there is no `common` set; None: none is."""

    own: Source
    held_out: Source | None
    common: Source | None
    skipped: int = 0  # rows that hold NaN and are left out, as the task wants it


def open_data(task: Task) -> TaskData:
    """The task's data, looked at. Raises TaskFault, and what the task's own code raises."""
    own, skipped = _sound(task, task.training_data(), "training_data")
    if own.size == 0:
        bad = f" but {skipped} that hold NaN" if skipped else ""
        raise TaskFault(f"training_data() returned no samples{bad}")
    given = task.evaluation_data()
    if given is not None:
        common, bad_common = _sound(task, given, "evaluation_data")
        return TaskData(own, None, common if common.size != 0 else None, skipped + bad_common)
    kept, held_out = own.split(HOLDOUT_SHARE, task.seed)
    return TaskData(kept, held_out, None, skipped)


def _sound(task: Task, given: Any, what: str) -> tuple[Source, int]:
    source = as_source(given, what)
    return source.sound(what, skip=task.skip_bad_rows) if isinstance(source, ArraySource) else (source, 0)
