"""Weighted samples before they are quantised, and how many of them each class gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Coreset, Space
from muster.coresets.spaces import levels


@dataclass(frozen=True, eq=False)
class Summary:
    """`x` (n, *shape), their labels or numbers `y` (n,), and how many samples each stands for, `weights`."""

    x: NDArray[np.float32]
    y: NDArray[Any]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.x)


def quantised(summary: Summary, space: Space, kind: str, bits: int) -> Coreset:
    """The summary as a coreset of `bits` bits an input."""
    y = summary.y
    labels = y.astype(np.int64) if space.classes else y.astype(np.float32)
    return Coreset(space, kind, bits, levels(summary.x, space, bits), labels, summary.weights)


def groups(y: NDArray[Any]) -> list[NDArray[np.int64]]:
    """The indices of each class in order of the label; numbers are one class."""
    if len(y) == 0 or y.dtype.kind == "f":
        return [np.arange(len(y))] if len(y) else []
    order = np.argsort(y, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(y[order])) + 1)


def shares(sizes: NDArray[np.int64], caps: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """How many of `count` each class gets: in proportion to its size, at least one each as far as they go
    (the largest classes first), none more than its cap."""
    count, open_ = min(count, int(caps.sum())), caps > 0
    given: NDArray[np.int64] = np.zeros(len(sizes), np.int64)
    given[np.argsort(np.where(open_, -sizes, 1), kind="stable")[: min(count, int(open_.sum()))]] = 1
    given = np.minimum(caps, given + (count - int(given.sum())) * sizes // max(1, int(sizes.sum())))
    while (left := count - int(given.sum())) > 0:
        behind = np.where(given < caps, sizes / (given + 0.5), -1.0)  # Sainte-Lague
        several = max(1, min(left, int((given < caps).sum())) // 2)
        given[np.argsort(-behind, kind="stable")[:several]] += 1
    return given


def shared_out(y: NDArray[Any], count: int, samples_min: int = 1) -> Iterator[tuple[NDArray[np.int64], int]]:
    """The indices of each class that gets any of `count` samples of a summary, and how many it gets.

    Each stands for at least `samples_min`; a class that has fewer gets none.
    """
    members = groups(y)
    sizes = np.asarray([len(group) for group in members], np.int64)
    for group, given in zip(members, shares(sizes, sizes // samples_min, count), strict=True):
        if given:
            yield group, int(given)
