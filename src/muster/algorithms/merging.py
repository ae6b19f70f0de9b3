"""Two models become one: the mean of two branches of a job's history, weighted by their work.

    merged = alpha * a + (1 - alpha) * b

The caller chooses alpha from the histories (history/graph.py): no side judges a merge by its own data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.precision import add_whole_steps, from_fp64, to_fp64
from muster.compression.tensors import Layout, check


def merge(
    layout: Layout, a: Mapping[str, NDArray[Any]], b: Mapping[str, NDArray[Any]], alpha: float
) -> dict[str, NDArray[Any]]:
    """alpha * a + (1 - alpha) * b in fp64, rounded to the layout's dtypes.

    Integers and truth values are a + (1 - alpha) * (b - a), the step rounded to a whole number.
    Raises TensorError when a model does not fit the layout, ValueError for alpha outside [0, 1].
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must be in [0, 1], not {alpha}")
    check(layout, a)
    check(layout, b)
    merged: dict[str, NDArray[Any]] = {}
    for spec in layout.tensors:
        one, other = a[spec.name], b[spec.name]
        if spec.floating:
            merged[spec.name] = from_fp64(spec, alpha * to_fp64(one) + (1.0 - alpha) * to_fp64(other))
        else:
            change = np.subtract(other, one, dtype=spec.change_dtype)
            merged[spec.name] = add_whole_steps(spec, one, (1.0 - alpha) * change.astype(np.float64))
    return merged
