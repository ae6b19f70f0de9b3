"""A few more samples behind those that a source with numbered rows has; nothing is copied but batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from muster.learning.sources.rows import Places, Rows
from muster.learning.sources.trees import Batch, Tree


@dataclass(frozen=True)
class Appended(Rows):
    """`first`, then `second`; batches of both have one structure."""

    first: Rows
    second: Rows
    rows: NDArray[np.int64] | None = None
    checked: bool = False

    @property
    def size(self) -> int:
        return self.first.size + self.second.size if self.rows is None else len(self.rows)

    @property
    def labels(self) -> Places | None:
        first, second = self.first.labels, self.second.labels
        if first is None or second is None:
            return None
        both = np.concatenate([first, second])
        return both if self.rows is None else both[self.rows]

    def _batch(self, places: Places) -> Batch:
        chosen, border = self._chosen(places), self.first.size
        in_first = chosen < border
        if in_first.all():
            return self.first._batch(chosen)
        second = self.second._batch(chosen[~in_first] - border)
        if not in_first.any():
            return second
        first = self.first._batch(chosen[in_first])
        order = torch.from_numpy(np.argsort(np.argsort(~in_first, kind="stable"), kind="stable"))
        return Batch(joined(first.data, second.data, order), len(chosen))


def joined(a: Tree, b: Tree, order: torch.Tensor | None = None) -> Tree:
    """The samples of two batches of one structure in one, those of `a` first, or in an `order` of places."""
    if isinstance(a, Mapping):
        return {key: joined(a[key], b[key], order) for key in a}
    if isinstance(a, tuple | list):
        parts = [joined(one, other, order) for one, other in zip(a, b, strict=True)]
        return type(a)(parts)
    both = torch.cat([a, b])
    return both if order is None else both[order]
