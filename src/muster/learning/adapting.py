"""What a job trains on where people labelled samples of a model in use.

An ordinary job has them behind the task's own data.  A job that adapts to a change has batches of the newest
labels, each with old samples beside them: without these it forgets (figures: bench/adapt/recipe.py).  It is
measured on labels that are held out, half new and half old.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.algorithms import splits
from muster.learning.data import TaskData
from muster.learning.faults import TaskFault
from muster.learning.sources.appended import Appended
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.coresets import form_of
from muster.learning.sources.mixed import Mixed
from muster.learning.sources.rows import Rows
from muster.learning.sources.source import Source
from muster.learning.task import Task

REPLAY_POOL = 200  # old samples from which those beside the new ones are drawn
PREPARED_AT_ONCE = 256
HELD_ALONE = 20  # old samples that a job is measured on where no new ones are held out


@dataclass(frozen=True)
class Labels:
    """Labelled raw samples."""

    x: NDArray[Any]
    y: NDArray[Any]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class LocalLabels:
    """Those of a node at a job's start: since the last change, before it, and held out since the change."""

    new: Labels
    former: Labels
    held: Labels


def with_labels(task: Task, data: TaskData, found: LocalLabels) -> TaskData:
    """The data of an ordinary job: all labels behind the task's own data, where that has numbered rows.

    Raises TaskFault for labels that do not fit it.
    """
    own = data.own
    if not isinstance(own, Rows):
        return data
    for labels in (found.former, found.new):
        if len(labels):
            more = as_own(task, own, labels)
            own = Appended(own, more, None, checked=bool(getattr(own, "checked", False)) and more.checked)
    return replace(data, own=own)


def adapted(task: Task, data: TaskData, found: LocalLabels, replay: int, seed: int) -> TaskData:
    """The data of a job that adapts: new labels, with `replay` old samples beside them in each batch.

    There are new ones.  Raises TaskFault where they do not fit the task's data.
    """
    new = as_own(task, data.own, found.new)
    own: Source = new if replay == 0 else Mixed(new, _old(task, data.own, found.former, seed), replay)
    held = _held(task, data, found.held)
    return TaskData(own, held, None)


def as_own(task: Task, own: Source, labels: Labels) -> ArraySource:
    """Labelled raw samples in the form of the task's own data. Raises TaskFault."""
    x_own, y_own, as_tree = form_of(own.example().data)
    x = _prepared(task, labels.x)
    if x.shape[1:] != x_own.shape[1:]:
        raise TaskFault(
            f"samples labelled on this node have the shape {tuple(x.shape[1:])} for the model, those of "
            f"training_data() {tuple(x_own.shape[1:])}: let the task's prepare() make it of them"
        )
    if not y_own.is_floating_point() and labels.y.dtype.kind == "f":
        raise TaskFault("labels given on this node are values, those of training_data() are classes")
    if y_own[0].numel() != 1:
        raise TaskFault("labels given on this node are single numbers, those of training_data() are not")
    y = torch.from_numpy(np.ascontiguousarray(labels.y)).to(y_own.dtype)
    source = ArraySource(as_tree(x.to(x_own.dtype), y.reshape(len(y), *y_own.shape[1:])), len(y))
    return source.sound("the local samples", skip=task.skip_bad_rows)[0]


def _prepared(task: Task, raw: NDArray[Any]) -> torch.Tensor:
    parts = []
    with torch.no_grad():
        for begin in range(0, len(raw), PREPARED_AT_ONCE):
            part = torch.from_numpy(np.ascontiguousarray(raw[begin : begin + PREPARED_AT_ONCE]))
            parts.append(task.prepare(part))
    return torch.cat(parts)


def _old(task: Task, own: Source, former: Labels, seed: int) -> Source:
    """Old samples, all classes alike: half of them labels from before the change, as far as there are."""
    chosen = splits.balanced(_classes(former.y), REPLAY_POOL // 2, seed)
    first = _some(own, REPLAY_POOL - len(chosen), seed)
    if not len(chosen):
        return first
    labelled = as_own(task, own, Labels(former.x[chosen], former.y[chosen]))
    return Appended(first, labelled, None, checked=first.checked) if isinstance(first, Rows) else first


def _some(own: Source, count: int, seed: int) -> Source:
    labels = own.labels if isinstance(own, Rows) else None
    if labels is None or not isinstance(own, Rows):
        return own.sample(count)
    return own.at(splits.balanced(labels, count, seed))


def _classes(y: NDArray[Any]) -> NDArray[Any]:
    """Values are of one class."""
    return np.zeros(len(y), np.int64) if y.dtype.kind == "f" else y


def _held(task: Task, data: TaskData, held: Labels) -> Source | None:
    """The new ones that are held out, and as many old ones."""
    given = data.held_out or data.common
    old = None if given is None else given.sample(len(held) or HELD_ALONE)
    if not len(held):
        return old
    new = as_own(task, data.own, held)
    return Appended(new, old) if isinstance(old, Rows) else new
