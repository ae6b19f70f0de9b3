"""Several models become one: two branches that are merged, or the mean of a line's last models.

    merged = alpha * a + (1 - alpha) * b

The caller chooses alpha from the histories (history/graph.py): no side judges a merge by its own data.  The
mean of the last models is stochastic weight averaging (Izmailov et al., UAI 2018, arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def mean(layout: Layout, models: Iterable[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The plain mean in fp64, with one model in memory at a time; counters are the first one's.

    Raises ValueError when there is no model.
    """
    rest = iter(models)
    first = next(rest, None)
    if first is None:
        raise ValueError("there are no models to take the mean of")
    sums = {spec.name: first[spec.name].astype(np.float64) for spec in layout.tensors if spec.floating}
    count = 1
    for arrays in rest:
        count += 1
        for name, total in sums.items():
            total += arrays[name]
    return {
        spec.name: (sums[spec.name] / count).astype(spec.numpy_dtype) if spec.floating else first[spec.name]
        for spec in layout.tensors
    }
