"""Parameters to fp64 and back: small numbers count as zero, integers move by whole steps.

A processor may flush numbers below 2**-126 to zero or not.  All magnitudes below TINY (compression/change.py)
therefore count as zero, in what comes in and in what comes out, so that every node gets the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.compression.change import flush
from muster.compression.codec import TINY
from muster.compression.tensors import TensorSpec

BLOCK = 1 << 16  # elements: fewer cost more calls, more do not stay in the cache


def to_fp64(array: NDArray[Any]) -> NDArray[np.float64]:
    """A copy in fp64."""
    return flush(np.array(array, np.float64))


def add_weighted(total: NDArray[np.float64], array: NDArray[Any], weight: float) -> bool:
    """`total` + `weight` * `array` in fp64, in place; in blocks, which are read from memory once.

    False where `array` holds a number that is not finite: then `total` is of no more use.
    """
    sums, values = total.reshape(-1), array.reshape(-1)
    floating = np.issubdtype(values.dtype, np.floating)
    product = np.empty(min(BLOCK, sums.size), np.float64)
    magnitudes = np.empty(product.size if floating else 0, values.dtype)
    for start in range(0, sums.size, BLOCK):
        block = values[start : start + BLOCK]
        part = product[: block.size]
        if floating:
            magnitude = np.abs(block, out=magnitudes[: block.size])
            if not magnitude.max() < np.inf:  # a NaN is the largest, too
                return False
            if magnitude.min() < TINY:
                block = np.where(magnitude < TINY, 0, block)
        part[:] = block
        part *= weight
        sums[start : start + BLOCK] += part
    return True


def from_fp64(spec: TensorSpec, value: NDArray[np.float64]) -> NDArray[Any]:
    """`value` rounded to the tensor's floating dtype; what overflows becomes infinite."""
    with np.errstate(over="ignore"):  # `tensors.check` names the infinite value
        return np.asarray(flush(np.asarray(value)).astype(spec.numpy_dtype))


def add_whole_steps(spec: TensorSpec, base: NDArray[Any], by: NDArray[np.float64]) -> NDArray[Any]:
    """`base` (integers or truth values) + `by` rounded to whole numbers (half: to the even one), in range."""
    reach = 2.0**63 if spec.dtype == "int64" else 2.0**32  # of a step
    step = np.clip(np.rint(by), -reach, np.nextafter(reach, 0.0)).astype(np.int64)
    moved = np.asarray(base.astype(np.int64) + step)
    if spec.dtype != "int64":
        low, high = (0, 1) if spec.dtype == "bool" else (np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
        np.clip(moved, low, high, out=moved)
    return moved.astype(spec.dtype)
