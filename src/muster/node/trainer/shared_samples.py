"""Reads the coresets that a request to train brings: what other nodes shared, if it fits the task here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from muster.coresets.coding.codec import decode
from muster.coresets.coding.error import CoresetError
from muster.coresets.coreset import Coreset, Space
from muster.coresets.spaces import default_space, unfit
from muster.learning.faults import TaskFault
from muster.learning.hooks import defaults, targets
from muster.node.trainer.open_task import OpenTask
from muster.protocol.validation.limits import SHARED_BYTES_MAX, SHARED_SAMPLES_MAX

LOOKED_AT = 2000  # samples of this node that say where a task's samples lie


def read_coresets(opened: OpenTask, samples: Sequence[tuple[str, float]]) -> list[tuple[Coreset, float]]:
    """The coresets in these files, each with its weight. Raises TaskFault for one that does not fit."""
    space, found = space_of(opened), list[tuple[Coreset, float]]()
    for path, weight in samples:
        try:
            message = Path(path).read_bytes()
            coreset = decode(message, space, samples_max=SHARED_SAMPLES_MAX, bytes_max=SHARED_BYTES_MAX)
        except CoresetError as error:
            raise TaskFault(f"samples of another node do not fit the task here: {error}") from error
        found.append((coreset, weight))
    return found


def space_of(opened: OpenTask) -> Space:
    """Where the task's samples lie. Raises TaskFault where it has none of a kind that can be shared."""
    batch = opened.data.own.sample(LOOKED_AT).example(LOOKED_AT).data
    pair = defaults.parted(batch)
    if pair is None or not all(isinstance(part, torch.Tensor) for part in pair):
        raise TaskFault("samples can be shared only where training_data() gives (x, y) arrays")
    x, y = (part.numpy() for part in pair)
    if (why := unfit(x, y)) is not None:
        raise TaskFault(f"samples of this task cannot be shared: {why}")
    space: Space = default_space(x.astype("float32"), y, _classes(opened))
    return space


def _classes(opened: OpenTask) -> int | None:
    """How many the model tells apart; None where that is not known, or its outputs are numbers."""
    x, y = defaults.parted(opened.data.own.example().data) or (None, None)
    if not isinstance(y, torch.Tensor) or y.is_floating_point() or opened.task.overrides("training_step"):
        return None
    model = opened.working_model().eval()
    with torch.no_grad():
        output = defaults.call_model(model, x)
    matched = targets.matched(output, y, opened.task.target_facts)
    return int(matched.output.shape[1]) if matched.kind == "classes" else 2
