"""A job's data with the samples that people labelled on this node: the trainer child looks them up itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from muster.learning.adapting import Labels, LocalLabels, adapted, with_labels
from muster.learning.data import TaskData
from muster.learning.faults import TaskFault
from muster.learning.task import Task
from muster.local.local_set import LocalSet
from muster.local.rows import Labelled
from muster.node.trainer.open_task import OpenTask
from muster.node.trainer.session_parts import OnStep

NONE_HERE = "nobody has labelled a sample of what changed on this node: label some (muster label)"


class LabelsHere:
    """Keeps the data of the last job that asked, as it was at the job's start."""

    def __init__(self) -> None:
        self._job: tuple[Any, ...] = ()
        self._data: TaskData | None = None

    def in_job(self, opened: OpenTask, labels: dict[str, Any]) -> OpenTask:
        """The open task with the data that a job has: `labels` is {set, job, replay} of a request.

        `replay` None: an ordinary job.  Raises TaskFault, MusterError.
        """
        job = (labels["set"], labels["job"], labels["replay"], id(opened.task))
        if self._data is None or self._job != job:
            self._data = _data(opened.task, opened.data, **labels)
            self._job = job
        return replace(opened, data=self._data)


def count_labels(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """How many samples the job trains on here, beside which others may be mixed in."""
    return {"samples": opened.data.own.size}


def _data(task: Task, data: TaskData, set: str, job: str, replay: int | None) -> TaskData:
    path = Path(set)
    if not path.exists():
        if replay is not None:
            raise TaskFault(NONE_HERE)
        return data
    with LocalSet.open(path) as local:
        found = local.snapshot(job)
    here = LocalLabels(_plain(found.new), _plain(found.former), _plain(found.held))
    if replay is None:
        return with_labels(task, data, here)
    if not len(here.new):
        raise TaskFault(NONE_HERE)
    return adapted(task, data, here, replay, seed=int(job[:8] or "0", 16))


def _plain(found: Labelled) -> Labels:
    return Labels(found.x, found.y)
