"""Data sets of every form that a node may have, drawn at random: tiny, constant, skewed, with odd columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

SHAPES = ((1,), (4,), (70,), (8, 8), (1, 8, 9), (3, 8, 8), (20, 3), (2, 2, 2, 2))
Data = tuple[NDArray[np.float32], NDArray[Any]]


@st.composite
def data_sets(draw: st.DrawFn, samples_max: int = 90) -> Data:
    """(x, y) with labels, or with numbers."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, shape = draw(st.integers(0, samples_max)), draw(st.sampled_from(SHAPES))
    x = rng.normal(draw(st.sampled_from((0, -5, 1e6))), draw(st.sampled_from((0, 1, 1e-6))), (count, *shape))
    form = draw(st.sampled_from(("plain", "few values", "far out", "unlike columns")))
    if form == "few values":
        x = np.round(x)
    elif form == "far out" and count:
        x[0] = 1e9
    elif form == "unlike columns":
        x = x * 10.0 ** rng.integers(-6, 6, shape[-1])
    if draw(st.booleans()):
        y: NDArray[Any] = rng.normal(3, draw(st.sampled_from((0, 2))), count).astype(np.float32)
    else:
        y = (rng.geometric(draw(st.sampled_from((0.3, 0.9, 1.0))), count) - 1).astype(np.int64)
    return x.astype(np.float32), y
