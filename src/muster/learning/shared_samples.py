"""A task's data as it may travel to others: an array of inputs and one target a sample, in its space."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muster.coresets.coreset import Space
from muster.coresets.exchange import Data
from muster.coresets.spaces import unfit
from muster.learning.faults import TaskFault
from muster.learning.hooks import defaults, targets
from muster.learning.hooks.measuring import Measuring
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch
from muster.learning.task import Task

NO_PAIR = "its training data gives no (x, y) arrays, and only those can be shared"


def travelling(task: Task, model: nn.Module, own: Source, samples_max: int) -> Data | str:
    """At most so many of a node's samples as they may travel, evenly from all; or why none does, as the end
    of a sentence.

    `model`: one that may be called; it says how many classes there are, on every node alike.  Where it
    cannot, the space does.
    """
    batch = own.sample(samples_max).example(samples_max)
    pair = _pair(batch)
    if pair is None:
        return NO_PAIR
    x, y = _numbers(pair[0]), _numbers(pair[1])
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if (why := unfit(x, y)) is not None:
        return why
    whole = not pair[1].is_floating_point()
    classes = _classes(task, model, own.example(), whole=whole)
    x = x.astype(np.float32, copy=False)
    y = y.astype(np.int64 if classes or (classes is None and whole) else np.float32)
    space = task.coreset_space(x, y)
    if space is None:
        return f"the task {task.name!r} lets none of its data travel"
    if not isinstance(space, Space) or space.shape != x.shape[1:]:
        raise TaskFault(f"coreset_space() must return a Space of the shape {x.shape[1:]}, or None")
    if classes is not None:
        space = replace(space, classes=classes)
    return Data(x, y, space, own.size or len(y))


def _pair(batch: Batch) -> tuple[torch.Tensor, torch.Tensor] | None:
    try:
        pair = defaults.parted(batch.data)
    except TaskFault:
        return None
    if pair is None or not all(isinstance(part, torch.Tensor) for part in pair):
        return None
    return pair


def _classes(task: Task, model: nn.Module, example: Batch, *, whole: bool) -> int | None:
    """How many classes the targets are of, by the model's outputs; 0: they are numbers. `whole`: they are
    whole numbers.  None: the model cannot be called so, as the task has steps of its own."""
    measuring = Measuring(task, model)
    pair = defaults.parted(measuring.placed(example).data)
    assert pair is not None
    try:
        [output] = measuring.run(example, lambda part: defaults.call_model(model, pair[0]))
        matched = targets.matched(output, pair[1], task.target_facts)
    except Exception:
        return None
    if matched.kind == "binary" and whole:
        return 2
    return matched.output.shape[1] if matched.kind == "classes" else 0


def _numbers(tensor: torch.Tensor) -> NDArray[Any]:
    half = tensor.dtype in (torch.bfloat16, torch.float16)
    found: NDArray[Any] = (tensor.float() if half else tensor).cpu().numpy()
    return found
