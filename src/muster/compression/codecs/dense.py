"""Every element, as fp32 or as fp16 with one power-of-two scale a message."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from muster.compression.codec import (
    BLOCK,
    TINY,
    CodecError,
    Message,
    Vector,
    check_size,
    check_vector,
    first_byte,
    raw_bytes,
)
from muster.compression.codecs.bytestage import QUICK_BYTES, Body, sample_pays, squeeze
from muster.compression.codecs.naming import PlainName
from muster.compression.codecs.scale import from_half, half_exponent, to_half


@dataclass(frozen=True)
class Dense32(PlainName):
    """Exact. Body: little-endian fp32."""

    NAME: ClassVar[str] = "dense32"
    FAMILY: ClassVar[int] = 0

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        check_vector(vector)
        packed, body = squeeze(raw_bytes(np.ascontiguousarray(vector, "<f4")))
        return b"".join((first_byte(self.FAMILY, packed), body))

    def encode_parts(self, parts: Sequence[Vector]) -> bytes | None:
        """`encode` of a large vector that lies in parts, without putting them together first.

        None where that would be another message: the vector is small, or its body is to be squeezed.
        """
        for part in parts:
            check_vector(part)
        bodies = [raw_bytes(np.ascontiguousarray(part, "<f4")) for part in parts]
        if sum(map(len, bodies)) <= QUICK_BYTES or sample_pays(bodies):
            return None
        return b"".join((first_byte(self.FAMILY), *bodies))

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        check_size(size)
        body = fixed_body(data, 1, 4 * size)
        little = np.empty(size, "<f4")
        for start in range(0, size, BLOCK):
            block = little[start : start + BLOCK]
            body.fill(block)
            if not np.isfinite(block).all():
                raise CodecError("the message holds a number that is not finite")
        body.end()
        return little.astype(np.float32, copy=False)

    def estimate_bytes(self, size: int) -> int:
        return 1 + 4 * size


@dataclass(frozen=True)
class Dense16(PlainName):
    """Error per element at most 2**-11 of it plus 2**-39 of the largest (plus TINY).

    Parameters: one signed byte, the common power of two. Body: little-endian fp16.
    """

    NAME: ClassVar[str] = "dense16"
    FAMILY: ClassVar[int] = 1

    def encode(self, vector: Vector, rng: np.random.Generator) -> bytes:
        check_vector(vector)
        largest = max(float(vector.max()), -float(vector.min())) if vector.size else 0.0
        if largest < TINY:
            exponent, halves = 0, np.zeros(vector.size, "<u2")
        else:
            exponent = half_exponent(largest)
            halves = np.empty(vector.size, "<u2")
            for start in range(0, vector.size, BLOCK):
                halves[start : start + BLOCK] = to_half(vector[start : start + BLOCK], exponent)
        packed, body = squeeze(raw_bytes(halves))
        return b"".join((first_byte(self.FAMILY, packed), struct.pack("b", exponent), body))

    @classmethod
    def decode(cls, data: Message, size: int) -> Vector:
        check_size(size)
        if len(data) < 2:
            raise CodecError("the message ends before its body")
        body = fixed_body(data, 2, 2 * size)
        exponent = struct.unpack_from("b", data, 1)[0]
        vector, halves = np.empty(size, np.float32), np.empty(min(BLOCK, size), "<u2")
        for start in range(0, size, BLOCK):
            block = halves[: size - start]
            body.fill(block)
            vector[start : start + BLOCK] = from_half(block, exponent)
        body.end()
        return vector

    def estimate_bytes(self, size: int) -> int:
        return 2 + 2 * size


def fixed_body(data: Message, offset: int, size_bytes: int) -> Body:
    """The body behind `offset`, squeezed if the first byte's lowest bit says so. Raises CodecError."""
    if not data or data[0] & 31 > 1:
        raise CodecError("the message has an unknown parameter")
    return Body(memoryview(data)[offset:], size_bytes, bool(data[0] & 1))
