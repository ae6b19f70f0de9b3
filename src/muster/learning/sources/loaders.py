"""Batches that a task's own DataLoader makes, with its workers, its sampler and its collate function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from muster.learning.faults import TaskFault
from muster.learning.sources.trees import Batch, count_of


class LoaderSource:
    """`make(batch, seed)` gives the loader of an epoch. Torch is seeded before it is asked, so that a loader
    that shuffles gives the same batches for a seed."""

    checked = False

    def __init__(self, make: Callable[[int, int], Any], what: str, limit: int | None = None) -> None:
        self._make, self._what, self._limit = make, what, limit
        self._example: Batch | None = None
        self._size: int | None = 0

    @property
    def size(self) -> int | None:
        """Of the loader's data set, if that has a length."""
        if self._size == 0:  # not asked yet
            try:
                self._size = len(self._make(1, 0).dataset)
            except (AttributeError, TypeError, NotImplementedError):
                self._size = None
        whole = self._size
        return whole if self._limit is None or whole is None else min(whole, self._limit)

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        epoch = 0
        while True:
            found = False
            for tree in self._epoch(batch, seed + epoch):
                found = True
                yield Batch(tree, count_of(tree))
            if not found:
                raise TaskFault(f"the DataLoader of {self._what}() gave no batch")
            epoch += 1

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        """Whole batches, so that there may be a few samples more than `limit`."""
        most = min((m for m in (limit, self._limit) if m is not None), default=None)
        seen = 0
        for tree in self._epoch(batch, 0):
            if most is not None and seen >= most:
                return
            count = count_of(tree)
            seen += count
            yield Batch(tree, count)

    def example(self, count: int = 2) -> Batch:
        """The first batch: of two samples if the loader heeds what it is asked."""
        if self._example is None:
            for tree in self._epoch(count, 0):
                self._example = Batch(tree, count_of(tree))
                break
            else:
                raise TaskFault(f"the DataLoader of {self._what}() gave no batch")
        return self._example

    def split(self, share: float, seed: int) -> tuple[LoaderSource, None]:
        """Nothing is held out: which samples a loader gives is its own affair."""
        return self, None

    def sample(self, count: int) -> LoaderSource:
        return LoaderSource(self._make, self._what, count)

    def tell(self) -> None:
        return None

    def seek(self, place: list[int]) -> None:
        pass

    def _epoch(self, batch: int, seed: int) -> Iterator[Any]:
        torch.manual_seed(seed)
        loader = self._make(batch, seed)
        generator = getattr(loader, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        if not hasattr(loader, "__iter__"):
            raise TaskFault(
                f"the function that {self._what}() returns gave {type(loader).__name__}, not a DataLoader"
            )
        return iter(loader)
