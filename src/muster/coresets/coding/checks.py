"""What has to hold of a coreset, before it is written and when it is read."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.error import CoresetError
from muster.coresets.coreset import BITS_MAX, KINDS, Coreset, Space

SPACES = ("image", "photo", "table")
AXES_MAX = 6
SLANT = 3  # of the lines along which images are coded
NUMBER_MAX = 1e30  # far enough from the largest float32 that differences are numbers
STEPS_MAX = 1 << 18  # of the coder, each for many values together; also some ten seconds
VALUE_BITS_MAX = {"image": 1 << 25, "table": 1 << 25, "photo": 1 << 29}  # of all levels: about 10 s to read
WEIGHT_MAX = 2.0**32

Floats = NDArray[np.float32]


def check_coreset(coreset: Coreset) -> None:
    """Raises CoresetError unless it can be written."""
    space, count, bits = coreset.space, len(coreset), coreset.bits
    if coreset.kind not in KINDS or space.kind not in SPACES:
        raise CoresetError(f"no coreset is of {coreset.kind} that are {space.kind}s")
    if not 1 <= bits <= BITS_MAX or (space.kind == "photo" and bits != BITS_MAX):
        raise CoresetError(f"{space.kind}s in {bits} bits cannot be written")
    check_fit(space.kind, space.shape, space.classes, space)
    check_size(space.kind, count, space.shape, bits, count)
    levels, labels, weights = coreset.levels, coreset.labels, coreset.weights
    if levels.shape != (count, *space.shape) or levels.dtype != np.uint8 or int(levels.max()) >> bits:
        raise CoresetError(f"the coreset's levels are no {bits}-bit numbers of shape {space.shape} each")
    if labels.shape != (count,) or weights.shape != (count,):
        raise CoresetError("the coreset has not one label and one weight a sample")
    whole = np.issubdtype(labels.dtype, np.integer)
    if space.classes and not (whole and _within(labels, 0, space.classes - 1)):
        raise CoresetError(f"the coreset's labels are not all from 0 to {space.classes - 1}")
    if not space.classes and not _within(labels, -NUMBER_MAX, NUMBER_MAX):
        raise CoresetError("the coreset has a target that is no number, or out of range")
    if not _within(weights, np.nextafter(np.float32(0), np.float32(1)), WEIGHT_MAX):
        raise CoresetError("the coreset's weights are not all above 0 and at most 2**32")
    if {space.low.shape, space.high.shape} - {(), (1,), space.shape[-1:]}:
        raise CoresetError("the coreset's bounds are neither one pair nor one for each column")
    if not bounded(space.low, space.high):
        raise CoresetError("the coreset's low bounds are not all below its high ones, or out of range")


def _within(values: NDArray[Any], least: float, most: float) -> bool:
    return bool(((values >= least) & (values <= most)).all())  # not a number: no


def bounded(low: NDArray[Any], high: NDArray[Any]) -> bool:
    """Whether these are numbers in a usual range and order, so that all between them are numbers as well."""
    wide = np.asarray(high, np.float64) - low
    return _within(low, -NUMBER_MAX, NUMBER_MAX) and _within(wide, 1 / NUMBER_MAX, NUMBER_MAX)


def check_fit(kind: str, shape: tuple[int, ...], classes: int, space: Space) -> None:
    """Raises CoresetError unless samples of this kind and shape lie in `space`."""
    if (kind, shape, classes) != (space.kind, space.shape, space.classes):
        raise CoresetError(
            f"the coreset is of {_described(kind, shape, classes)}; "
            f"the task takes {_described(space.kind, space.shape, space.classes)}"
        )
    if len(shape) > AXES_MAX or len(shape) < (1 if kind == "table" else 2) or 0 in shape:
        raise CoresetError(f"no coreset can be of {_described(kind, shape, classes)}")


def check_size(kind: str, count: int, shape: tuple[int, ...], bits: int, samples_max: int) -> None:
    """Raises CoresetError unless so many samples are allowed."""
    if not 0 < count <= samples_max:
        raise CoresetError(f"the coreset has {count} samples; 1 to {samples_max} are allowed")
    if count * math.prod(shape) * bits > VALUE_BITS_MAX[kind]:
        raise CoresetError(
            f"the coreset has {count} samples of {math.prod(shape)} values in {bits} bits: more than "
            f"{VALUE_BITS_MAX[kind]} bits together; fewer samples or bits would do"
        )
    if _steps(kind, shape, bits) > STEPS_MAX:
        raise CoresetError(
            f"samples of {_described(kind, shape, 0)} in {bits} bits take too long; fewer bits may do"
        )


def planes(kind: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, rows and columns of the images that a sample of two or more axes is read as.

    A table of two axes is one of time and channels: each channel is an image one pixel high.
    """
    if kind == "table" and len(shape) == 2:
        return shape[1], 1, shape[0]
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def _steps(kind: str, shape: tuple[int, ...], bits: int) -> int:
    if kind == "photo" or len(shape) == 1:
        return 1  # or few
    channels, rows, columns = planes(kind, shape)
    return channels * (columns + SLANT * rows) * bits


def _described(kind: str, shape: tuple[int, ...], classes: int) -> str:
    size = " x ".join(map(str, shape))
    return f"{kind}s of shape {size} in {classes} classes" if classes else f"{kind}s of shape {size}"
