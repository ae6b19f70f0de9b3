"""Whether two nodes see alike: a sketch of what their unlabelled samples do in the first layers of the model.

A sample's features (served graph `sketch`) are the means and deviations of the channels of its input and of
the first layers.  A sketch is their mean over 40 or more samples, in deviations of the reference (the task's
own data), fp16. The distance of two is the mean absolute difference of their inverse hyperbolic sines: of
small deviations it is the difference, of large ones that of their logarithms, because what is 20 deviations
off scatters by several.  The same change is below 0.25, another one above 0.35; what lies between helps in
training.  It tells inputs apart, not what they mean: labels that were swapped look alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLES_MIN = 40
THRESHOLD = 0.4
BYTES_MAX = 256
FEATURES_MAX = BYTES_MAX // 2
LARGEST = 60_000.0  # deviations; fp16 has no more
LEAST_DEVIATION = 1e-6  # of a feature, as a share of its mean: one that never changes says nothing
SKETCH = np.dtype("<f2")
MEAN_KEY, DEVIATION_KEY = "sketch_mean", "sketch_deviation"  # in the metadata of a file


class Reference:
    """The mean and deviation of each feature over the task's own data."""

    def __init__(self, mean: NDArray[Any], deviation: NDArray[Any]) -> None:
        """Raises ValueError for what cannot be a reference."""
        self.mean = np.asarray(mean, np.float64).reshape(-1)
        self.deviation = np.asarray(deviation, np.float64).reshape(-1)
        if self.mean.shape != self.deviation.shape or not 1 <= len(self.mean) <= FEATURES_MAX:
            raise ValueError(f"a reference has 1 to {FEATURES_MAX} means and as many deviations")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.deviation).all()):
            raise ValueError("a reference holds what is no number")
        if (self.deviation < 0).any():
            raise ValueError("a reference has a negative deviation")

    @classmethod
    def of(cls, features: NDArray[Any]) -> Reference:
        """Of the features (n, k) of the task's data. Samples with what is no number are left out."""
        rows = sound_rows(features)
        if not len(rows):
            raise ValueError("a reference needs at least one sample without NaN")
        return cls(rows.mean(0), rows.std(0))


def sketch(features: NDArray[Any], reference: Reference) -> bytes:
    """The sketch of a node's samples, from their features (n, k); b"": there are fewer than 40 sound ones."""
    rows = sound_rows(features)
    if len(rows) < SAMPLES_MIN or rows.shape[1] != len(reference.mean):
        return b""
    deviation = reference.deviation
    telling = deviation > LEAST_DEVIATION * (np.abs(reference.mean) + LEAST_DEVIATION)
    off = np.where(telling, (rows.mean(0) - reference.mean) / np.where(telling, deviation, 1.0), 0.0)
    return np.clip(off, -LARGEST, LARGEST).astype(SKETCH).tobytes()


def sound(given: bytes) -> bool:
    """Whether these bytes, which may come from anybody, are a sketch."""
    if not given or len(given) > BYTES_MAX or len(given) % SKETCH.itemsize:
        return False
    return bool(np.isfinite(np.frombuffer(given, SKETCH)).all())


def distance(one: bytes, other: bytes) -> float:
    """Between two sketches, in deviations of the reference; infinite: not of one kind, or not sound."""
    if len(one) != len(other) or not (sound(one) and sound(other)):
        return float("inf")
    a, b = (np.arcsinh(np.frombuffer(given, SKETCH).astype(np.float64)) for given in (one, other))
    return float(np.abs(a - b).mean())


def alike(one: bytes, other: bytes, threshold: float = THRESHOLD) -> bool:
    """Whether what two nodes see is near enough to train together."""
    return distance(one, other) < threshold


def sound_rows(features: NDArray[Any]) -> NDArray[np.float64]:
    """The samples (n, k) all of whose features are numbers."""
    rows = np.asarray(features, np.float64)
    rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    return rows[np.isfinite(rows).all(1)]


def reference_metadata(reference: Reference) -> dict[str, str]:
    """As it stands in the metadata of the file with the features."""
    return {
        MEAN_KEY: json.dumps([float(f"{value:.6g}") for value in reference.mean]),
        DEVIATION_KEY: json.dumps([float(f"{value:.6g}") for value in reference.deviation]),
    }


def reference_of(metadata: Mapping[str, str]) -> Reference | None:
    """What `reference_metadata` wrote; None: there is none, or it is not sound."""
    try:
        mean, deviation = (json.loads(metadata[key]) for key in (MEAN_KEY, DEVIATION_KEY))
        return Reference(np.asarray(mean, float), np.asarray(deviation, float))
    except (KeyError, TypeError, ValueError):
        return None
