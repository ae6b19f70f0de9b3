"""Arrays at hand, in memory or mapped from a file: nothing is copied but the rows of a batch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.learning.faults import TaskFault
from muster.learning.sources.rows import Rows
from muster.learning.sources.trees import Batch, Tree, bad_rows, bytes_of, cut, leaves, mapped

SCAN_BYTES_MAX = 256_000_000  # larger arrays are looked at batch by batch, as they are used
SCAN_ROWS = 4096


@dataclass(frozen=True)
class ArraySource(Rows):
    """A pytree of tensors with equal first axes, of which this source has `rows` (None: all of them)."""

    tree: Tree
    total: int
    rows: NDArray[np.int64] | None = None
    checked: bool = False

    @property
    def size(self) -> int:
        return self.total if self.rows is None else len(self.rows)

    def __len__(self) -> int:
        return self.size

    @property
    def x(self) -> Tree:
        """The inputs of an (x, y), all of them."""
        return self._whole(0)

    @property
    def y(self) -> Tree:
        """The targets of an (x, y), all of them."""
        return self._whole(1)

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class of each sample; None: the targets are no classes."""
        if not isinstance(self.tree, tuple | list) or len(self.tree) != 2:
            return None
        y = self.tree[1]
        if not isinstance(y, torch.Tensor) or y.ndim != 1 or y.is_floating_point() or y.is_complex():
            return None
        found: NDArray[np.int64] = y.numpy().astype(np.int64)
        return found if self.rows is None else found[self.rows]

    def _between(self, begin: int, end: int) -> Batch:
        if self.rows is None:  # a view: nothing is copied
            return Batch(cut(self.tree, begin, end), end - begin, range(begin, end))
        return super()._between(begin, end)

    def sound(self, what: str, *, skip: bool) -> tuple[ArraySource, int]:
        """This source without rows that hold NaN, and how many these were.

        Raises TaskFault for such a row unless `skip`. Arrays over `SCAN_BYTES_MAX` are left as they are.
        """
        if bytes_of(self.tree) > SCAN_BYTES_MAX:
            return self, 0
        bad: dict[int, str] = {}
        for part in self.once(SCAN_ROWS):
            assert part.rows is not None
            found = bad_rows(part.data, nan_only=True)
            bad.update({int(part.rows[place]): name for place, name in found.items()})
        if not bad:
            return replace(self, checked=True), 0
        if not skip:
            raise TaskFault(nan_sentence(what, bad))
        own = np.arange(self.total) if self.rows is None else self.rows
        left = own[~np.isin(own, list(bad))]
        return replace(self, rows=left, checked=True), len(own) - len(left)

    def _whole(self, part: int) -> Tree:
        tree = self.tree[part]
        return tree if self.rows is None else mapped(tree, lambda leaf: leaf[torch.from_numpy(self.rows)])

    def _batch(self, places: NDArray[np.int64]) -> Batch:
        chosen = self._chosen(places)
        index = torch.from_numpy(chosen)
        return Batch(mapped(self.tree, lambda leaf: leaf[index]), len(chosen), chosen)  # type: ignore[arg-type]


def nan_sentence(what: str, bad: dict[int, str]) -> str:
    row = min(bad)
    more = f", and {len(bad) - 1} more rows do" if len(bad) > 1 else ""
    return (
        f"row {row} of {bad[row]} of {what}() holds NaN{more}: correct the data, or set skip_bad_rows = True"
    )


def as_arrays(given: Any, what: str) -> ArraySource:
    """A pytree of arrays, tensors or lists of numbers as a source; memory is shared. Raises TaskFault."""
    tree = _tensors(given, what, top=True)
    sizes = {name: tuple(leaf.shape) for name, leaf in leaves(tree)}
    if not sizes:
        raise TaskFault(f"{what}() returned no arrays")
    if any(not shape for shape in sizes.values()) or len({shape[0] for shape in sizes.values()}) != 1:
        shapes = " and ".join(f"{name} of shape {shape}" for name, shape in list(sizes.items())[:4])
        raise TaskFault(f"{what}() returned {shapes}: all need the samples along the first axis")
    return ArraySource(tree, next(iter(sizes.values()))[0])


def _tensors(given: Any, what: str, *, top: bool = False) -> Tree:
    """`given` with tensors as leaves. A dict, a tuple, and the outermost list, are structure; other lists are
    arrays written out."""
    if isinstance(given, Mapping):
        return {key: _tensors(value, what) for key, value in given.items()}
    if isinstance(given, tuple) or (top and isinstance(given, list)):
        return tuple(_tensors(value, what) for value in given)
    if isinstance(given, torch.Tensor):
        return given.detach()
    try:
        array = np.asarray(given)
        if array.dtype.hasobject:
            raise TypeError(f"it holds {type(array.reshape(-1)[0]).__name__}s of different shapes or kinds")
        if any(step < 0 for step in array.strides) or not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="), order="C")
        with warnings.catch_warnings():  # a read-only file that is mapped: nobody writes into it
            warnings.simplefilter("ignore")
            return torch.as_tensor(array)
    except (TypeError, ValueError) as error:
        raise TaskFault(
            f"{what}() must return (x, y) or another pytree of arrays: {' '.join(str(error).split())[:160]};"
            " samples of different shapes need a function that makes a DataLoader with a collate_fn"
        ) from error
