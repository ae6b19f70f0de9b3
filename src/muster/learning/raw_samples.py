"""What a task says of the samples that a deployed model is asked about: their type, and the labels' names.

A raw sample is what a camera or a program has, such as 28 x 28 bytes; `Task.prepare` makes it what the model
takes.
This module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from muster.learning.faults import TaskFault
from muster.learning.task import Task

DTYPES = ("uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")
BYTES_MAX = 64_000_000  # of one sample
NAMES_MAX = 100_000


@dataclass(frozen=True)
class RawSample:
    """One sample, without an axis for the batch."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def declared_raw(task: Task) -> RawSample | None:
    """What `prepare` takes; None: the task has none, so it is what the model takes. Raises TaskFault."""
    if not task.overrides("prepare"):
        if task.raw is not None:
            raise TaskFault(
                f"the task {task.name!r} says what its raw samples are, and lacks prepare(self, x)"
            )
        return None
    if task.raw is None:
        raise TaskFault(
            f"the task {task.name!r} has prepare() and does not say what it takes: add the dtype and "
            'shape of one sample, such as raw = ("uint8", (28, 28))'
        )
    try:
        dtype, shape = task.raw
        found = RawSample(np.dtype(dtype).name, tuple(int(size) for size in shape))
    except (TypeError, ValueError):
        raise _odd_raw(task) from None
    if found.dtype not in DTYPES or any(size < 1 for size in found.shape) or found.size_bytes > BYTES_MAX:
        raise _odd_raw(task)
    return found


def given_labels(task: Task) -> Sequence[str] | dict[int, str] | None:
    """As the task writes them: `labels`, or the older `classes`."""
    return task.classes if task.labels is None else task.labels


def label_names(task: Task) -> dict[int, str]:
    """Label -> its name, empty: the task names none.

    Raises TaskFault for names that are not all different, or not text.
    """
    given = given_labels(task)
    if given is None:
        return {}
    pairs = list(given.items()) if isinstance(given, Mapping) else list(enumerate(given))
    names = [name for _, name in pairs]
    sound = all(isinstance(n, str) and n for n in names) and all(type(k) is int and k >= 0 for k, _ in pairs)
    if isinstance(given, str) or not sound or len(set(names)) < len(names) or len(names) > NAMES_MAX:
        raise TaskFault(
            f"the labels of the task {task.name!r} must be different names in the order of the model's "
            'outputs, such as labels = ("cat", "dog")'
        )
    return dict(pairs)


def _odd_raw(task: Task) -> TaskFault:
    return TaskFault(
        f"the task {task.name!r} has raw = {task.raw!r}: it must be one of {', '.join(DTYPES)} and the "
        f'shape of one sample of at most {BYTES_MAX // 1_000_000} MB, such as ("uint8", (28, 28))'
    )
