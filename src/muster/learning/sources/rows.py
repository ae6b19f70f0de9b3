"""What all data with rows that can be chosen by number have in common: order, batches, samples, hold-out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from muster.algorithms import splits
from muster.learning.sources.trees import Batch, shuffled

Places = NDArray[np.int64]


class Rows(ABC):
    """Samples that have numbers, of which this source has `rows` (None: all). Places count within the source.

    A dataclass derives from it and says how many there are and how they are read.
    """

    rows: Places | None

    @property
    @abstractmethod
    def size(self) -> int: ...

    @abstractmethod
    def _batch(self, places: Places) -> Batch: ...

    def at(self, index: Any) -> Self:
        """Some of the samples, by their places."""
        return replace(self, rows=self._chosen(np.asarray(index, np.int64).reshape(-1)))  # type: ignore[type-var]

    def _chosen(self, places: Places) -> Places:
        return places if self.rows is None else self.rows[places]

    def _between(self, begin: int, end: int) -> Batch:
        return self._batch(np.arange(begin, end))

    @property
    def labels(self) -> Places | None:
        """The class of each sample; None: they have none, or it is not known without reading them."""
        return None

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        for places in shuffled(self.size, batch, seed):
            yield self._batch(places)

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        end = self.size if limit is None else min(limit, self.size)
        for begin in range(0, end, batch):
            yield self._between(begin, min(begin + batch, end))

    def example(self, count: int = 2) -> Batch:
        return self._batch(np.arange(min(count, self.size)))

    def split(self, share: float, seed: int) -> tuple[Self, Self | None]:
        """Of each class `share` is held out, and something if there are three samples or more: two are left
        to train on, which batch norm needs."""
        if self.size < 3:
            return self, None
        labels = self.labels
        kept, out = splits.holdout(np.zeros(self.size) if labels is None else labels, share, seed)
        return self.at(kept), self.at(out)

    def sample(self, count: int) -> Self:
        count = min(count, self.size)
        return self.at(np.arange(count) * self.size // max(1, count))

    def tell(self) -> None:
        return None

    def seek(self, place: list[int]) -> None:
        return None
