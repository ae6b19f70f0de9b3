"""A map-style data set (`__getitem__` and `__len__`), torch's own or any other; read as batches need it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.algorithms import splits
from muster.learning.faults import TaskFault
from muster.learning.sources.trees import Batch, shuffled, stacked


@dataclass(frozen=True)
class DatasetSource:
    """The samples `rows` of `dataset` (None: all). `what` names the task's function in faults."""

    dataset: Any
    what: str
    rows: NDArray[np.int64] | None = None
    checked: bool = False

    @property
    def size(self) -> int:
        return len(self.dataset) if self.rows is None else len(self.rows)

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        for places in shuffled(self.size, batch, seed):
            yield self._batch(places)

    def once(self, batch: int, limit: int | None = None) -> Iterator[Batch]:
        end = self.size if limit is None else min(limit, self.size)
        for begin in range(0, end, batch):
            yield self._batch(np.arange(begin, min(begin + batch, end)))

    def example(self, count: int = 2) -> Batch:
        return self._batch(np.arange(min(count, self.size)))

    def split(self, share: float, seed: int) -> tuple[DatasetSource, DatasetSource | None]:
        if self.size < 3:
            return self, None
        kept, out = splits.holdout(np.zeros(self.size), share, seed)
        return self._at(kept), self._at(out)

    def sample(self, count: int) -> DatasetSource:
        count = min(count, self.size)
        return self._at(np.arange(count) * self.size // max(1, count))

    def tell(self) -> None:
        return None

    def seek(self, place: list[int]) -> None:
        pass

    def _at(self, places: NDArray[np.int64]) -> DatasetSource:
        return replace(self, rows=places if self.rows is None else self.rows[places])

    def _batch(self, places: NDArray[np.int64]) -> Batch:
        chosen = [int(i) for i in (places if self.rows is None else self.rows[places])]
        several = getattr(self.dataset, "__getitems__", None)
        items: Sequence[Any] = several(chosen) if several is not None else [self.dataset[i] for i in chosen]
        if len(items) != len(chosen):
            raise TaskFault(
                f"the Dataset of {self.what}() gave {len(items)} samples where {len(chosen)} were asked"
            )
        return Batch(stacked(items), len(chosen), chosen)
