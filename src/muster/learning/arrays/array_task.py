"""Tasks of any framework: they train named arrays themselves, by `fit`, and have no torch module.

    class Lines(Task):
        name, version = "lines", "1"

        def initial(self, seed):                 # {name: array}: what travels
            return {"coef": numpy.zeros((3, 8), "float32"), "intercept": numpy.zeros(3, "float32")}

        def fit(self, arrays, steps, seed):      # (arrays, examples, {"loss": mean loss})
            ...

        def measure(self, arrays):               # {name: (sum, count)}, on what is not trained on
            return {"accuracy": (right, count), "loss": (loss_sum, count)}

What a task returns is checked here.  This module does not import torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.compression.tensors import DTYPES, Layout, TensorError, TensorSpec
from muster.learning.faults import TaskFault
from muster.learning.task import FitRecipe, Task

Arrays = dict[str, NDArray[Any]]
Figures = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Fitted:
    """What `fit` did: the trained arrays in the layout's dtypes, this node's samples, the loss."""

    arrays: Arrays
    examples: int
    loss: float  # the mean over the steps; nan: the task says nothing


def is_array_task(task: Task) -> bool:
    """Whether `task` trains arrays itself."""
    return type(task).fit is not Task.fit


def initial(task: Task, seed: int) -> Arrays:
    """The starting arrays, copied. Raises TaskFault."""
    found = task.initial(seed)
    if not isinstance(found, Mapping) or not found:
        raise TaskFault(f"initial() must return a dict of name -> array, not {_kind(found)}")
    arrays: Arrays = {}
    for name, value in found.items():
        if not isinstance(name, str) or not name:
            raise TaskFault(f"initial() must name its arrays with text, not with {name!r}")
        array = np.array(value, order="C")
        if array.dtype.name not in DTYPES:
            raise TaskFault(
                f"initial() returned {name!r} of type {array.dtype}: use one of {', '.join(DTYPES)}"
            )
        if not np.isfinite(array).all():
            raise TaskFault(f"initial() returned values in {name!r} that are not finite")
        arrays[name] = array
    return arrays


def layout_of(task: Task, arrays: Arrays) -> Layout:
    """The layout of `arrays`, in their order. Raises TaskFault.

    Integers, and what the task names in `statistics`, are averaged and never extrapolated.
    """
    specs = []
    for name, array in arrays.items():
        counted = any(fnmatchcase(name, pattern) for pattern in task.statistics)
        learnt = array.dtype.kind == "f" and not counted
        specs.append(TensorSpec(name, array.shape, array.dtype.name, learnt))
    try:
        layout = Layout(tuple(specs))
    except TensorError as error:
        raise TaskFault(f"the arrays cannot be sent: {error}") from error
    if not any(spec.learnt for spec in specs):
        raise TaskFault("initial() returned no array of a floating type: there is nothing to train")
    return layout


def fit(
    task: Task, layout: Layout, arrays: Mapping[str, Any], recipe: FitRecipe, steps: int, seed: int
) -> Fitted:
    """`steps` steps of the task from `arrays`, which stay as they are. Raises TaskFault."""
    task.recipe = recipe
    own = {name: np.array(array) for name, array in arrays.items()}  # the task may write into its copies
    result = task.fit(own, steps, seed)
    if not isinstance(result, tuple) or len(result) != 3:
        raise TaskFault(f"fit() must return (arrays, examples, metrics), not {_kind(result)}")
    after, examples, metrics = result
    if not isinstance(examples, (int, np.integer)) or examples < 0:
        raise TaskFault(f"fit() must return the number of samples as its second value, not {examples!r}")
    if not isinstance(metrics, Mapping):
        raise TaskFault(
            f'fit() must return a dict such as {{"loss": 0.4}} as its third value, not {_kind(metrics)}'
        )
    loss = metrics.get("loss", math.nan)
    if not _is_number(loss):
        raise TaskFault(f"fit() returned {loss!r} as the loss: use a number")
    return Fitted(_fitting(layout, after), int(examples), float(loss))


def measure(task: Task, arrays: Mapping[str, Any]) -> Figures:
    """The figures of `arrays`, name -> (sum, count); without those of which nothing was counted.

    Raises TaskFault.
    """
    found = task.measure({name: np.array(array) for name, array in arrays.items()})
    if not isinstance(found, Mapping):
        raise TaskFault(f"measure() must return a dict of name -> (sum, count), not {_kind(found)}")
    figures: Figures = {}
    for name, pair in found.items():
        if not isinstance(name, str) or not name:
            raise TaskFault(f"measure() must name its figures with text, not with {name!r}")
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(_is_number, pair)):
            raise TaskFault(f"measure() must return {name!r} as (sum, count), not as {pair!r}")
        total, count = float(pair[0]), float(pair[1])
        if count < 0 or not math.isfinite(count):
            raise TaskFault(f"measure() returned a count of {count:g} for {name!r}")
        if count:
            figures[name] = (total, count)
    return figures


def _fitting(layout: Layout, found: Any) -> Arrays:
    """`found` in the layout's order and dtypes; raises TaskFault when names or shapes differ."""
    if not isinstance(found, Mapping):
        raise TaskFault(f"fit() must return the arrays as a dict of name -> array, not {_kind(found)}")
    odd = sorted(map(str, set(found) ^ set(layout.by_name)))
    if odd:
        raise TaskFault(
            f"fit() must return the arrays that initial() returns: {odd[0]!r} is in one of them only"
        )
    arrays: Arrays = {}
    for spec in layout.tensors:
        array = np.asarray(found[spec.name])
        if array.shape != spec.shape:
            raise TaskFault(
                f"fit() returned {spec.name!r} in the shape {array.shape}, initial() has {spec.shape}"
            )
        if not np.can_cast(array.dtype, spec.numpy_dtype, "same_kind"):
            raise TaskFault(f"fit() returned {spec.name!r} as {array.dtype}, initial() has {spec.dtype}")
        arrays[spec.name] = np.ascontiguousarray(array.astype(spec.numpy_dtype)).reshape(spec.shape)
    return arrays


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    return type(value).__name__
