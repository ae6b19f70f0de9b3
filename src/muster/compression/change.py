"""A change leads from one model to another: a node's update, a commit's delta.

Each of its tensors has a type in which every difference of two values fits (`TensorSpec.change_dtype`): fp32
or fp64 for floats, for integers the next wider signed type, for truth values -1, 0 and 1.  So a change says
how far up or down, whatever it is added to later.  int64 alone has no wider type: it wraps around, as torch's
sums do, and `add` wraps it back.

No parameter stays below TINY = 2**-100: a processor that flushes denormal numbers to zero (32-bit Arm's NEON)
rebuilds the same bits then.  What it flushes is below 2**-126, too little to show in an fp32 sum of TINY or
more.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from muster.compression.codec import TINY, CodecError
from muster.compression.tensors import Array, Layout


def difference(layout: Layout, base: Mapping[str, Array], new: Mapping[str, Array]) -> dict[str, Array]:
    """The change that leads from `base` to `new`."""
    return {
        spec.name: np.asarray(np.subtract(new[spec.name], base[spec.name], dtype=spec.change_dtype))
        for spec in layout.tensors
    }


def add(layout: Layout, base: Mapping[str, Array], change: Mapping[str, Array]) -> dict[str, Array]:
    """`base` plus `change`, one rounding an element: the same bits on every node.

    Raises CodecError where the result leaves the range of its tensor's type.
    """
    result: dict[str, Array] = {}
    for spec in layout.tensors:
        with np.errstate(over="ignore"):
            wide = np.asarray(np.add(base[spec.name], change[spec.name], dtype=spec.change_dtype))
            if spec.floating:
                flush(wide)
            new = wide.astype(spec.dtype, copy=False)
        if spec.floating and not np.isfinite(new).all():
            raise CodecError(f"the update makes tensor {spec.name!r} infinite")
        if not spec.floating and (new != wide).any():
            raise CodecError(f"the update takes tensor {spec.name!r} out of the range of {spec.dtype}")
        result[spec.name] = new
    return result


def flush(array: Array) -> Array:
    """`array` with 0 for every magnitude below TINY, in place."""
    array[np.abs(array) < TINY] = 0
    return array
