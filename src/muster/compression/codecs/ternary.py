"""Sparse ternary compression: STC (Sattler, Wiedemann, Mueller, Samek, IEEE TNNLS 2020, arXiv 1903.02891).

The fraction `density` of largest magnitude becomes plus or minus their mean magnitude, the rest zero.  A
message is positions, one bit a sign and one bfloat16 magnitude: 124 bytes for 2 % of 6,000 parameters.

With k kept elements of mean magnitude mu the squared error is |x|**2 - k * mu**2, within 2**-16 of the last
term for the rounding of mu (plus TINY**2 for each element).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from muster.compression.codec import Message, Vector, check_vector
from muster.compression.codecs.naming import NameWithDensity
from muster.compression.codecs.scale import put_bfloat16, take_bfloat16
from muster.compression.codecs.sparse import estimate, frame, kept_count, largest, scatter, unframe


@dataclass(frozen=True)
class Ternary(NameWithDensity):
    NAME: ClassVar[str] = "stc"
    DENSITIES: ClassVar[tuple[float, ...]] = (0.05, 0.02, 0.01, 0.0025)
    FAMILY: ClassVar[int] = 6

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        check_vector(vector)
        where = largest(vector, kept_count(self.density, vector.size))
        if not where.size:
            return frame(self.FAMILY, where, vector.size, b"", np.empty(0, np.uint8), 1)
        values = vector[where]
        signs = (values < 0).view(np.uint8)
        mean = float(np.abs(values, out=values).mean(dtype=np.float64))
        del values  # a large model's are large
        return frame(self.FAMILY, where, vector.size, put_bfloat16(mean), signs, 1)

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        where, parameters, signs = unframe(data, size, 2, 1)
        if not where.size:
            return np.zeros(size, np.float32)
        magnitude = take_bfloat16(parameters, 0)
        return scatter(where, signs, np.array((magnitude, -magnitude)).take, size)

    def estimate_bytes(self, size: int) -> int:
        return estimate(kept_count(self.density, size), size, 2, 1) if size else 2
