"""The largest elements, each with its value: 4 bits (sign and one of eight magnitudes, geometrically spaced)
or fp16 with one power-of-two scale a message.  Meant for use with error feedback (`feedback.py`).

Error: a kept element is off by at most |x| * (2**(r / 32) - 1) for 4 bits, r being the message's step in
sixteenths of an octave (the kept range decides it: r = 5, 11 %, for a range of one to four), by |x| * 2**-11
plus 2**-39 of the largest for fp16 (both plus TINY); an element that is not kept by itself.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from muster.compression.codec import TINY, CodecError, Message, Vector, check_vector
from muster.compression.codecs.naming import NameWithDensity
from muster.compression.codecs.scale import from_half, half_exponent, to_half
from muster.compression.codecs.sparse import estimate, frame, kept_count, largest, scatter, unframe

RANGE = 2.0**-118  # kept elements span at most this range, which is what the largest step covers
# 2 ** (-i / 16) as decimal constants: computing them would ask the platform's pow for its last bit.
_ROOTS = (
    1.0, 0.9576032757759094, 0.9170040488243103, 0.8781260848045349,
    0.8408964276313782, 0.805245041847229, 0.7711054086685181, 0.7384130954742432,
    0.7071067690849304, 0.6771277785301208, 0.6484197974205017, 0.6209289431571960,
    0.5946035385131836, 0.5693942904472351, 0.5452538728713989, 0.5221368670463562,
)  # fmt: skip


@dataclass(frozen=True)
class TopK4(NameWithDensity):
    """Named "topk:DENSITY"."""

    NAME: ClassVar[str] = "topk"
    FAMILY: ClassVar[int] = 4

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        check_vector(vector)
        peak = _peak(vector)
        where = largest(vector, kept_count(self.density, vector.size), max(TINY, peak * RANGE))
        if not where.size:
            return frame(self.FAMILY, where, vector.size, b"", np.empty(0, np.uint8), 4)
        values = vector[where]
        negative = (values < 0).view(np.uint8)
        octaves = np.abs(values, out=values).astype(np.float64)
        np.log2(np.divide(peak, octaves, out=octaves), out=octaves)
        step = math.ceil(float(octaves.max()) * 16 / 7.5 - 1e-9)
        octaves *= 16 / max(step, 1)
        codes = np.clip(np.rint(octaves, out=octaves), 0, 7, out=octaves).astype(np.uint8)
        codes |= negative << np.uint8(3)
        del values, octaves  # a large model's are large
        return frame(self.FAMILY, where, vector.size, struct.pack("<fB", peak, step), codes, 4)

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        where, parameters, codes = unframe(data, size, 5, 4)
        if not where.size:
            return np.zeros(size, np.float32)
        peak, step = struct.unpack("<fB", parameters)
        if not (math.isfinite(peak) and peak >= TINY):
            raise CodecError("the message's magnitude is not a positive finite number")
        return scatter(where, codes, _magnitudes(np.float32(peak), step).take, size)

    def estimate_bytes(self, size: int) -> int:
        return estimate(kept_count(self.density, size), size, 5, 4) if size else 2


@dataclass(frozen=True)
class TopK16(NameWithDensity):
    """Named "topk16:DENSITY"."""

    NAME: ClassVar[str] = "topk16"
    FAMILY: ClassVar[int] = 5

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        check_vector(vector)
        where = largest(vector, kept_count(self.density, vector.size))
        if not where.size:
            return frame(self.FAMILY, where, vector.size, b"", np.empty(0, np.uint8), 16)
        exponent = half_exponent(_peak(vector))
        codes = to_half(vector[where], exponent)
        return frame(self.FAMILY, where, vector.size, struct.pack("b", exponent), codes, 16)

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        where, parameters, codes = unframe(data, size, 1, 16)
        if not where.size:
            return np.zeros(size, np.float32)
        exponent = struct.unpack("b", parameters)[0]
        return scatter(where, codes, lambda block: from_half(block.astype("<u2"), exponent), size)

    def estimate_bytes(self, size: int) -> int:
        return estimate(kept_count(self.density, size), size, 1, 16) if size else 2


def _peak(vector: Vector) -> float:
    return max(float(vector.max()), -float(vector.min())) if vector.size else 0.0


def _magnitudes(peak: np.float32, step: int) -> Vector:
    """The sixteen values of a code: peak * 2**(-j * step / 16), then their negatives."""
    table = np.empty(16, np.float32)
    for j in range(8):
        octave, part = divmod(j * step, 16)
        value = np.float32(peak * np.float32(_ROOTS[part]) * np.float32(2.0**-octave))
        table[j], table[8 + j] = value, -value
    table[np.abs(table) < TINY / 4] = 0.0
    return table
