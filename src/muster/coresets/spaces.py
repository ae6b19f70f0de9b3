"""The space in which a task's samples lie, where the task does not say: from a node's data.

An image has one range for all of its pixels.  A table has one range a column, unless its columns are alike
(standardised ones, a flattened image): then one for all, because a range a column is eight bytes of message.
Ranges come from this node's data, so two nodes may quantise differently; a coreset carries its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coreset import Space

SIDE_MIN = 8  # of an image; shorter axes are taken for columns
ASPECT_MAX = 4  # longer ones are taken for a signal: time and channels
CLASSES_MAX = 65_536
IMAGES_MAX, ROWS_MAX = 20_000, 2_000  # samples whose ranges are taken
VALUE_MAX = 1e30  # of inputs and targets, so that ranges are finite in fp32
TAIL = 0.01
ALIKE = 3  # times the range of the middle column is that of all at most


def unfit(x: NDArray[Any], y: NDArray[Any]) -> str | None:
    """Why no coreset can be made of these samples, as the end of a sentence; None: it can."""
    if x.ndim < 2 or x.dtype.kind not in "fiub":
        return f"the inputs are an array of shape {x.shape} and type {x.dtype}, not numbers for each sample"
    if y.shape != x.shape[:1]:
        return f"the targets have shape {y.shape}, not one number for each of {len(x)} samples"
    if x[:1].size == 0 and len(x):
        return "the samples have no inputs"
    if y.dtype.kind not in "fiub":
        return f"the targets are of type {y.dtype}, not numbers"
    if y.dtype.kind in "iu" and len(y) and not 0 <= y.min() <= y.max() < CLASSES_MAX:
        return f"the labels go from {y.min()} to {y.max()}: they must be 0 to {CLASSES_MAX - 1} at most"
    if not (_in_range(x) and _in_range(y)):
        return f"some of the samples are no numbers, or above {VALUE_MAX:g}"
    return None


def _in_range(values: NDArray[Any]) -> bool:
    return not values.size or bool(float(values.min()) >= -VALUE_MAX and float(values.max()) <= VALUE_MAX)


def default_space(x: NDArray[np.float32], y: NDArray[Any], classes: int | None = None) -> Space:
    """The space of samples `x` (n, *shape) with labels or numbers `y` (n,).

    `classes`: of the task; without it as many as the largest label here needs, which may be fewer than other
    nodes have.  Empty data gives the range 0 to 1.
    """
    shape = x.shape[1:]
    if y.dtype.kind == "f":
        classes = 0
    elif classes is None:
        classes = int(y.max()) + 1 if len(y) else 1
    if _is_image(shape):
        seen = _some(x, IMAGES_MAX)
        low, high = (seen.min(), seen.max()) if len(seen) else (0.0, 1.0)
        return Space("image", shape, *_range(np.asarray([low]), np.asarray([high])), classes)
    low, high = _column_ranges(_some(x, ROWS_MAX).reshape(-1, shape[-1]))
    return Space("table", shape, *_range(low, high), classes)


def _some(x: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """About `count` of the samples, evenly from all."""
    return x[:: max(1, len(x) // count)]


def _is_image(shape: tuple[int, ...]) -> bool:
    if len(shape) not in (2, 3):
        return False
    short, long = sorted(shape[-2:])
    return short >= SIDE_MIN and long <= ASPECT_MAX * short


def _column_ranges(rows: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(low, high) of each column, or one pair where columns are alike."""
    if len(rows) == 0:
        return np.zeros(1), np.ones(1)
    low, high = _without_far_ones(rows)
    all_low, all_high = _without_far_ones(rows.reshape(-1, 1))
    if all_high - all_low <= ALIKE * np.sort(high - low)[(low.size - 1) // 2]:
        return all_low, all_high
    return low, high


def _without_far_ones(rows: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The least and the largest value of each column but for a few far out, which would take the levels of
    all others: those further from the quantiles at 1 and 99 % than half of what is between these."""
    near, far = np.quantile(rows, (TAIL, 1 - TAIL), axis=0)
    fence = np.where(far > near, (far - near) / 2, np.inf)  # a column of rare values keeps them
    return np.maximum(rows.min(0), near - fence), np.minimum(rows.max(0), far + fence)


def range_of(x: NDArray[np.float32], space: Space) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(low, high) of these inputs, one pair or one a column as `space` has it, and nowhere outside of it."""
    if space.low.size == 1:
        low, high = x.min(keepdims=True).reshape(1), x.max(keepdims=True).reshape(1)
    else:
        rows = x.reshape(-1, space.shape[-1])
        low, high = rows.min(0), rows.max(0)
    return _range(np.clip(low, space.low, space.high), np.clip(high, space.low, space.high))


def _range(low: NDArray[Any], high: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As float32, and never empty: a constant lies at the low end of a range of 1."""
    low32, high32 = low.astype(np.float32), high.astype(np.float32)
    wide = np.nextafter(
        low32 + np.maximum(np.float32(1), np.abs(low32) * np.float32(1e-6)), np.float32(np.inf)
    )
    return low32, np.where(high32 > low32, high32, wide)


def unit(x: NDArray[Any], space: Space) -> NDArray[np.float32]:
    """Inputs as rows (n, columns) of the space's range, 0 to 1: what lies outside is clipped."""
    scaled = (x - space.low) / (space.high - space.low)
    return np.clip(scaled, 0, 1).astype(np.float32).reshape(len(x), int(np.prod(space.shape)))


def levels(x: NDArray[Any], space: Space, bits: int) -> NDArray[np.uint8]:
    """Inputs (n, *shape) as the nearest of 2**bits levels."""
    top = (1 << bits) - 1
    nearest: NDArray[np.uint8] = np.rint(unit(x, space) * np.float32(top)).astype(np.uint8)
    return nearest.reshape(x.shape)
