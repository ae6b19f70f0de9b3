"""What a classifier's outputs say: the number of a class for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.serving.models import OUTPUT, Loaded
from muster.serving.oip.tensors import DTYPES

AT_ONCE_MAX = 32  # samples in a run


def classes_of(output: NDArray[Any]) -> list[int]:
    """The answers in outputs (n, classes); of (n, 1) or (n,), one logit a sample, 1 where it is above 0."""
    rows = output.reshape(len(output), -1)
    found: list[int] = (rows.argmax(1) if rows.shape[1] > 1 else (rows[:, 0] > 0).astype(int)).tolist()
    return found


def answered(loaded: Loaded, xs: Sequence[NDArray[Any]]) -> list[int | None]:
    """The class that a model gives each raw sample; None for one that does not fit its input."""
    spec = loaded.inputs[0]
    dtype = DTYPES[spec.datatype]
    found: list[int | None] = [None] * len(xs)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(xs):
        fits = x.ndim + 1 == len(spec.shape) and all(
            own in (-1, size) for own, size in zip(spec.shape[1:], x.shape, strict=True)
        )
        if fits and np.can_cast(x.dtype, dtype, "same_kind"):
            by_shape.setdefault(x.shape, []).append(i)
    most = AT_ONCE_MAX if spec.shape and spec.shape[0] < 0 else 1
    for places in by_shape.values():
        for start in range(0, len(places), most):
            some = places[start : start + most]
            batch = np.stack([xs[i] for i in some]).astype(dtype, copy=False)
            for i, answer in zip(
                some, classes_of(loaded.run((OUTPUT,), {spec.name: batch})[OUTPUT]), strict=True
            ):
                found[i] = answer
    return found
