"""Calls a task's steps on held-out batches: without gradients where that is possible, in pieces where memory
does not suffice, in the task's precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import nn

from muster.learning.hooks import modes
from muster.learning.sources.clean import clean
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch, cut, leaves, to_device
from muster.learning.task import Task

T = TypeVar("T")


class Measuring:
    """Runs steps of `task` on `model`, which is moved to the task's device and put into evaluation mode."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        self._task = task
        self._device = modes.device_of(task.settings.device)
        self._gradients: bool | None = None  # whether the model needs them; None: not known yet
        self._most: int | None = None  # samples at once, once memory did not suffice for more
        self.skipped = 0  # samples with NaN that `batches` left out
        model.to(self._device)
        model.eval()

    def batches(self, data: Source, batch: int, limit: int | None = None) -> Iterator[Batch]:
        """The data once, on the device, without samples that hold NaN if the task skips them."""
        for whole in data.once(batch, limit):
            if not data.checked:
                whole, skipped = clean(whole, skip=self._task.skip_bad_rows)
                self.skipped += skipped
            if whole.count:
                yield self.placed(whole)

    def placed(self, batch: Batch) -> Batch:
        """The batch on the device."""
        return Batch(to_device(batch.data, self._device), batch.count, batch.rows)

    def run(self, batch: Batch, step: Callable[[Batch], T], *, gradients: bool = False) -> list[T]:
        """What `step` says of the batch, or of its halves, and so on. `gradients`: the step needs them."""
        if self._most is None or batch.count <= self._most:
            try:
                return [self._with_gradients(batch, step) if gradients else self._without(batch, step)]
            except (MemoryError, RuntimeError) as error:
                if not modes.out_of_memory(error) or not can_be_cut(batch):
                    raise
                self._most = max(1, batch.count // 2)
        if not can_be_cut(batch):
            return [self._with_gradients(batch, step) if gradients else self._without(batch, step)]
        return [said for half in halves(batch) for said in self.run(half, step, gradients=gradients)]

    def _with_gradients(self, batch: Batch, step: Callable[[Batch], T]) -> T:
        with torch.enable_grad(), modes.precision(self._task.settings.precision, self._device):
            return step(batch)

    def _without(self, batch: Batch, step: Callable[[Batch], T]) -> T:
        """The first batch says whether the model takes gradients in its forward pass, as forces that are the
        gradient of an energy do: torch says so then, and the model gets them from there on."""
        if self._gradients:
            return self._with_gradients(batch, step)
        try:
            with torch.no_grad(), modes.precision(self._task.settings.precision, self._device):
                said = step(batch)
            self._gradients = False
            return said
        except RuntimeError as error:
            if self._gradients is False or "does not require grad" not in str(error):
                raise
        said = self._with_gradients(batch, step)
        self._gradients = True
        return said


def can_be_cut(batch: Batch) -> bool:
    return batch.count > 1 and all(leaf.ndim and len(leaf) == batch.count for _, leaf in leaves(batch.data))


def halves(batch: Batch) -> Iterator[Batch]:
    middle = batch.count // 2
    for begin, end in ((0, middle), (middle, batch.count)):
        yield Batch(cut(batch.data, begin, end), end - begin)
