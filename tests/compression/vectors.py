"""Vectors that codecs must cope with."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from muster.compression.codecs.families import FAMILIES

# One name of each family, and densities at which positions take their other forms.
NAMES = (
    *dict.fromkeys(
        (*(family.examples()[0] for family in FAMILIES), "topk:0.05", "topk16:0.05", "stc:0.02", "stc:0.2")
    ),
)
KINDS = ("normal", "heavy", "zero", "constant", "extreme", "denormal", "sparse", "mixed", "tied")
LARGEST = float(np.finfo(np.float32).max)


def make(kind: str, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(size)
    if kind == "heavy":
        x = x**7 * 1e-4
    elif kind == "zero":
        x = x * 0
    elif kind == "constant":
        x = np.full(size, 0.37)
    elif kind == "extreme":
        x = np.sign(x) * LARGEST * rng.choice([1, 0.999, 0.5, 1e-30], size)
    elif kind == "denormal":
        x = x * 1e-42
    elif kind == "sparse":
        x = x * (rng.random(size) < 0.01)
    elif kind == "mixed":
        x = x * 10.0 ** rng.uniform(-44, 37, size)
    elif kind == "tied":
        x = rng.choice([-1.0, 0.0, 1.0, 2.0], size)
    return np.clip(x, -LARGEST, LARGEST).astype(np.float32)


vectors = st.builds(
    make, st.sampled_from(KINDS), st.sampled_from((0, 1, 2, 7, 64, 1025, 5994)), st.integers(0, 99)
)
