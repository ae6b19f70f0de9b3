"""Small exact number formats: bfloat16 magnitudes, fp16 with a common power of two."""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

from muster.compression.codec import TINY, CodecError, Vector

HALF_MAX = 0x77FF  # 32752.0: the largest scaled fp16 value, so that rounding never leaves fp32's range


def put_bfloat16(value: float) -> bytes:
    """Two bytes; relative error at most 2**-8. `value` is in [TINY, largest fp32]."""
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return struct.pack("<H", min((bits + 0x8000) >> 16, 0x7F7F))


def take_bfloat16(data: bytes, offset: int) -> np.float32:
    """A normal, positive number. Raises CodecError."""
    if offset + 2 > len(data):
        raise CodecError("the message ends inside its magnitude")
    bits = int.from_bytes(data[offset : offset + 2], "little")
    if not 0x0080 <= bits <= 0x7F7F:
        raise CodecError("the message's magnitude is not a positive finite number")
    return np.uint32(bits << 16).view(np.float32)


def half_exponent(largest: float) -> int:
    """The power of two that brings `largest` (>= TINY) to [2**14, 2**15)."""
    return math.frexp(largest)[1] - 15


def to_half(values: Vector, exponent: int) -> NDArray[np.uint16]:
    """fp16 bit patterns of values / 2**exponent; relative error 2**-11, absolute 2**(exponent - 25)."""
    with np.errstate(under="ignore"):
        scaled = np.ldexp(values, -exponent).astype("<f2")
    bits = scaled.view("<u2")
    return np.where(bits & 0x7FFF > HALF_MAX, bits & 0x8000 | HALF_MAX, bits).astype("<u2")


def from_half(bits: NDArray[np.uint16], exponent: int) -> Vector:
    """Raises CodecError where a pattern is beyond HALF_MAX or the exponent out of range."""
    if bool(((bits & 0x7FFF) > HALF_MAX).any()) or not -115 <= exponent <= 113:
        raise CodecError("the message holds a number that is not finite")
    values = bits.view("<f2").astype(np.float32)
    power = np.float32(2.0**exponent)  # the product is exact or, below TINY, made zero everywhere alike
    if exponent < -75:
        values[np.abs(values) < np.float32(TINY / 2.0**exponent)] = 0.0
    values *= power
    return values
