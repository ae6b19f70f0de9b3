"""A map-style data set (`__getitem__` and `__len__`), torch's own or any other; read as batches need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.learning.faults import TaskFault
from muster.learning.sources.rows import Rows
from muster.learning.sources.trees import Batch, stacked


@dataclass(frozen=True)
class DatasetSource(Rows):
    """The samples `rows` of `dataset` (None: all). `what` names the task's function in faults."""

    dataset: Any
    what: str
    rows: NDArray[np.int64] | None = None
    checked: bool = False

    @property
    def size(self) -> int:
        return len(self.dataset) if self.rows is None else len(self.rows)

    def _batch(self, places: NDArray[np.int64]) -> Batch:
        chosen = [int(i) for i in self._chosen(places)]
        several = getattr(self.dataset, "__getitems__", None)
        items: Sequence[Any] = several(chosen) if several is not None else [self.dataset[i] for i in chosen]
        if len(items) != len(chosen):
            raise TaskFault(
                f"the Dataset of {self.what}() gave {len(items)} samples where {len(chosen)} were asked"
            )
        return Batch(stacked(items), len(chosen), chosen)
