"""Stochastic uniform quantisation in blocks (QSGD, Alistarh et al. 2017, arXiv 1610.02132, with the block's
largest magnitude in place of its norm, so that the error bound is per element).

x in a block of largest magnitude m becomes m * q / L with q in -L..L, L = 127 or 7, rounded up or down at
random so that the mean is x.  Error per element: below one step, m / L (plus TINY).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from muster.compression.codec import (
    TINY,
    CodecError,
    Message,
    Vector,
    check_size,
    check_vector,
    first_byte,
    raw_bytes,
)
from muster.compression.codecs.bytestage import squeeze
from muster.compression.codecs.dense import fixed_body
from muster.compression.codecs.naming import PlainName

SCALE_BLOCK = 1024  # elements that share one fp32 scale
_CHUNK = 64 * SCALE_BLOCK  # elements worked on at a time


def _levels(limit: int) -> Vector:
    """q / limit for q = -limit..limit: one IEEE division each, the same bits on every processor."""
    return np.arange(-limit, limit + 1, dtype=np.float32) / np.float32(limit)


def _block_maxima(vector: Vector) -> Vector:
    starts = np.arange(0, vector.size, SCALE_BLOCK)
    high = np.maximum.reduceat(vector, starts)
    low = np.minimum.reduceat(vector, starts)
    scales: Vector = np.maximum(high, -low)
    return np.where(scales < TINY, np.float32(0), scales).astype("<f4")


def _quantise(vector: Vector, scales: Vector, limit: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Codes 0..2*limit for one chunk."""
    scale = np.repeat(scales, SCALE_BLOCK)[: vector.size].astype(np.float64)
    scale[scale == 0.0] = np.inf
    value = vector / scale
    value *= limit
    value += rng.random(vector.size, dtype=np.float32)
    return (np.clip(np.floor(value), -limit, limit) + limit).astype(np.uint8)


def _encode(family: int, limit: int, vector: Vector, rng: np.random.Generator) -> bytes:
    check_vector(vector)
    if not vector.size:
        return first_byte(family)
    scales = _block_maxima(vector)
    plain = np.empty(scales.nbytes + _code_bytes(limit, vector.size), np.uint8)
    plain[: scales.nbytes] = scales.view(np.uint8)
    at = scales.nbytes
    for start in range(0, vector.size, _CHUNK):
        block = scales[start // SCALE_BLOCK : (start + _CHUNK) // SCALE_BLOCK]
        codes = _quantise(vector[start : start + _CHUNK], block, limit, rng)
        if limit == 7:
            codes = _pack_nibbles(codes)
        plain[at : at + codes.size] = codes
        at += codes.size
    packed, body = squeeze(raw_bytes(plain))
    return b"".join((first_byte(family, packed), body))


def _decode(limit: int, data: Message, size: int) -> Vector:
    check_size(size)
    blocks = -(-size // SCALE_BLOCK)
    body = fixed_body(data, 1, 4 * blocks + _code_bytes(limit, size))
    scales = np.empty(blocks, "<f4")
    body.fill(scales)
    scales = scales.astype(np.float32, copy=False)
    if not (np.isfinite(scales) & ((scales == 0) | (scales >= TINY))).all():
        raise CodecError("the message holds a scale that is not a finite magnitude")
    levels, vector = _levels(limit), np.empty(size, np.float32)
    with np.errstate(under="ignore"):
        for start in range(0, size, _CHUNK):
            block = scales[start // SCALE_BLOCK : (start + _CHUNK) // SCALE_BLOCK]
            count = min(_CHUNK, size - start)
            codes = np.empty(_code_bytes(limit, count), np.uint8)
            body.fill(codes)
            if limit == 7:
                codes = _unpack_nibbles(codes, count)
            if int(codes.max()) > 2 * limit:
                raise CodecError("the message holds a level that does not exist")
            part = levels[codes]
            part *= np.repeat(block, SCALE_BLOCK)[:count]
            vector[start : start + _CHUNK] = part
    body.end()
    return vector


def _code_bytes(limit: int, size: int) -> int:
    return size if limit == 127 else (size + 1) // 2


def _pack_nibbles(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if codes.size % 2:
        codes = np.append(codes, np.uint8(0))
    return codes[0::2] | codes[1::2] << np.uint8(4)


def _unpack_nibbles(packed: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    codes = np.empty(2 * packed.size, np.uint8)
    np.bitwise_and(packed, 15, out=codes[0::2])
    np.right_shift(packed, 4, out=codes[1::2])
    if size % 2 and codes[-1]:
        raise CodecError("the message's padding is not zero")
    return codes[:size]


@dataclass(frozen=True)
class Quant8(PlainName):
    """One byte an element, one fp32 scale for each 1024."""

    NAME: ClassVar[str] = "quant8"
    FAMILY: ClassVar[int] = 2

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        return _encode(self.FAMILY, 127, vector, rng)

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        return _decode(127, data, size)

    def estimate_bytes(self, size: int) -> int:
        return 1 + size + 4 * (-(-size // SCALE_BLOCK))


@dataclass(frozen=True)
class Quant4(PlainName):
    """Half a byte an element, one fp32 scale for each 1024."""

    NAME: ClassVar[str] = "quant4"
    FAMILY: ClassVar[int] = 3

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        return _encode(self.FAMILY, 7, vector, rng)

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        return _decode(7, data, size)

    def estimate_bytes(self, size: int) -> int:
        return 1 + (size + 1) // 2 + 4 * (-(-size // SCALE_BLOCK))
