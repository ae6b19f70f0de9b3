"""A change leads from one model to another: a node's update, a commit's delta.

Each of its tensors has a type in which every difference of two values fits (`TensorSpec.change_dtype`): fp32
or fp64 for floats, for integers the next wider signed type, for truth values -1, 0 and 1.  So a change says
how far up or down, whatever it is added to later.  int64 alone has no wider type: it wraps around, as torch's
sums do, and `add` wraps it back.

A statistic (`TensorSpec.averaged`) is not moved but replaced: its part of a change is its new value, or all
NaN where it stayed as it was.

No parameter stays below TINY = 2**-100: a processor that flushes denormal numbers to zero (32-bit Arm's NEON)
rebuilds the same bits then.  What it flushes is below 2**-126, too little to show in an fp32 sum of TINY or
more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from muster.compression.codec import BLOCK, TINY, CodecError
from muster.compression.tensors import Array, Layout, is_unchanged


class Difference(Mapping[str, Array]):
    """The change that leads from `base` to `new`: each tensor is worked out when it is asked for."""

    def __init__(self, layout: Layout, base: Mapping[str, Array], new: Mapping[str, Array]) -> None:
        self._layout, self._base, self._new = layout, base, new

    def __getitem__(self, name: str) -> Array:
        spec, base, new = self._layout.by_name[name], self._base[name], self._new[name]
        if not spec.averaged:
            return np.asarray(np.subtract(new, base, dtype=spec.change_dtype))
        if np.array_equal(new, base):
            return np.full(spec.shape, np.nan, spec.change_dtype)
        return np.asarray(new, spec.change_dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout.by_name)

    def __len__(self) -> int:
        return len(self._layout.tensors)


class Sum(Mapping[str, Array]):
    """`base` plus `change`, each tensor when it is asked for.

    One rounding an element: the same bits on every node.

    Asking for a tensor raises CodecError where the result leaves the range of its type.
    """

    def __init__(self, layout: Layout, base: Mapping[str, Array], change: Mapping[str, Array]) -> None:
        self._layout, self._base, self._change = layout, base, change

    def __getitem__(self, name: str) -> Array:
        spec, change = self._layout.by_name[name], self._change[name]
        if spec.averaged and is_unchanged(change):
            return self._base[name]
        with np.errstate(over="ignore"):
            if spec.averaged:
                wide = np.array(change, spec.change_dtype)
            else:
                wide = np.asarray(np.add(self._base[name], change, dtype=spec.change_dtype))
            if spec.floating:
                flush(wide)
            new = wide.astype(spec.numpy_dtype, copy=False)
        if spec.floating and not np.isfinite(new).all():
            raise CodecError(f"the update makes tensor {name!r} infinite")
        if not spec.floating and (new != wide).any():
            raise CodecError(f"the update takes tensor {name!r} out of the range of {spec.dtype}")
        return new

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout.by_name)

    def __len__(self) -> int:
        return len(self._layout.tensors)


def difference(layout: Layout, base: Mapping[str, Array], new: Mapping[str, Array]) -> dict[str, Array]:
    """The whole change that leads from `base` to `new`."""
    return dict(Difference(layout, base, new))


def add(layout: Layout, base: Mapping[str, Array], change: Mapping[str, Array]) -> dict[str, Array]:
    """All of `base` plus `change`. Raises CodecError where a result leaves the range of its tensor's type."""
    return dict(Sum(layout, base, change))


def flush(array: Array) -> Array:
    """`array` with 0 for every magnitude below TINY, in place; in blocks where it lies in one piece."""
    if array.size <= BLOCK or not array.flags.c_contiguous:
        array[np.abs(array) < TINY] = 0
        return array
    flat = array.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        block[np.abs(block) < TINY] = 0
    return array
