"""A stream of samples (an IterableDataset): it may be larger than memory, and its length need not be known.

Its `__iter__` must give the same samples in the same order each time (after `set_epoch`, if it has one), so
that a place is an epoch and a number of samples; training goes on there in the next round, and after a
restart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from muster.learning.faults import TaskFault
from muster.learning.sources.trees import Batch, stacked

HELD_OUT_MAX = 2000  # samples of a stream that are held out for each evaluation
ONCE_MAX = 50_000  # samples that an evaluation reads of a stream, which may have no end


class StreamSource:
    """Each sample of `dataset` but, if `every` is given, the ones that are held out: every so many-th."""

    checked = False

    def __init__(
        self, dataset: Any, what: str, every: int = 0, *, held: bool = False, limit: int = ONCE_MAX
    ) -> None:
        self._dataset, self._what, self._every, self._held = dataset, what, every, held
        self._limit = limit
        self._place = [0, 0]  # epoch, and samples of it that were read
        self._live: tuple[list[int], Iterator[Any]] | None = None  # an iterator, and the place where it is

    @property
    def size(self) -> int | None:
        try:
            whole = len(self._dataset)
        except (TypeError, NotImplementedError):
            return None
        if not self._every:
            return whole
        held = whole // self._every
        return min(held, self._limit) if self._held else whole - held

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        """From where `tell` is on; `seed` has no part in it."""
        epoch, done = self._place
        items = self._from(epoch, done)
        waiting: list[Any] = []
        seen = done > 0
        while True:
            for item in items:
                seen = True
                done += 1
                self._place = [epoch, done]
                self._live = (self._place, items)
                if self._mine(done):
                    waiting.append(item)
                if len(waiting) == batch:
                    yield Batch(stacked(waiting), len(waiting))
                    waiting = []
            if not seen:
                raise TaskFault(f"the stream of {self._what}() gave no samples")
            epoch, done, seen = epoch + 1, 0, False
            self._place = [epoch, 0]
            items = self._from(epoch, 0)

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        most = self._limit if limit is None else min(limit, self._limit)
        numbered = enumerate(self._begin(0), 1)
        mine = (item for number, item in numbered if self._mine(number))
        chosen = itertools.islice(mine, most)
        while items := list(itertools.islice(chosen, batch)):
            yield Batch(stacked(items), len(items))

    def example(self, count: int = 2) -> Batch:
        for batch in self.once(count, count):
            return batch
        raise TaskFault(f"the stream of {self._what}() gave no samples")

    def split(self, share: float, seed: int) -> tuple[StreamSource, StreamSource | None]:
        every = max(2, round(1 / share))
        kept = StreamSource(self._dataset, self._what, every)
        return kept, StreamSource(self._dataset, self._what, every, held=True, limit=HELD_OUT_MAX)

    def sample(self, count: int) -> StreamSource:
        """The first `count`: a stream cannot be looked at evenly."""
        return StreamSource(
            self._dataset, self._what, self._every, held=self._held, limit=min(count, self._limit)
        )

    def tell(self) -> list[int]:
        return list(self._place)

    def seek(self, place: list[int]) -> None:
        self._place = list(place)

    def _mine(self, number: int) -> bool:
        """Whether the sample `number` (from 1) of an epoch belongs to this source."""
        return not self._every or (number % self._every == 0) == self._held

    def _begin(self, epoch: int) -> Iterator[Any]:
        if hasattr(self._dataset, "set_epoch"):
            self._dataset.set_epoch(epoch)
        return iter(self._dataset)

    def _from(self, epoch: int, done: int) -> Iterator[Any]:
        """The samples of `epoch` behind the first `done`."""
        if self._live is not None and self._live[0] == [epoch, done] and done:
            return self._live[1]
        items = self._begin(epoch)
        return itertools.islice(items, done, None)
