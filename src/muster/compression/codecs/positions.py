"""Where the kept elements are: the cheapest of a bitmap and Golomb-Rice coded gaps.

Rice with parameter b writes a gap g as b low bits and g >> b in unary (that many zeros and a one, the one
being the stop bit).  The low bits of all gaps come first, then the
unary parts, so that both directions are a few vector operations.  For gaps of density p Rice needs
b + 1 / (1 - (1 - p)**(2**b)) bits each, within half a percent of the entropy at p = 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.compression.codec import CodecError

BITMAP = 31  # in place of Rice's b
_BLOCK = 1 << 16  # numbers at a time: as bits each has a byte a bit
Bits = NDArray[np.uint8]  # one 0 or 1 an element
Packed = NDArray[np.uint8]  # eight of them an element
Positions = NDArray[np.int32]  # ascending, distinct
Numbers: TypeAlias = NDArray[Any]  # uint8, uint16 or int32


def choose(positions: Positions, size: int) -> int:
    """The cheaper of BITMAP and Rice's best b (0..30), by exact count."""
    count = positions.size
    gaps = _gaps(positions)
    guess = _rice_guess(count, size)
    costs = {
        b: count * (b + 1) + int((gaps >> b).sum(dtype=np.int64)) for b in range(max(0, guess - 1), guess + 2)
    }
    best = min(costs, key=lambda b: (costs[b], b))
    return best if costs[best] <= size else BITMAP


def to_bits(positions: Positions, size: int, how: int) -> tuple[Iterator[Bits], Bits]:
    """(a part whose length follows from the count, a part that ends the message)."""
    if how == BITMAP:
        bitmap = np.zeros(size, np.uint8)
        bitmap[positions] = 1
        return iter(()), bitmap
    gaps = _gaps(positions)
    stops = np.right_shift(gaps, how, dtype=np.int64)
    stops += 1
    np.cumsum(stops, out=stops)
    stops -= 1
    unary = np.zeros(int(stops[-1]) + 1 if stops.size else 0, np.uint8)
    unary[stops] = 1
    return number_bits(gaps, how), unary


def fixed_bits(count: int, how: int) -> int:
    """Length of the first part."""
    return 0 if how == BITMAP else count * how


def from_bits(packed: Packed, tail: Bits, count: int, size: int, how: int) -> tuple[Positions, int]:
    """(positions, bits of `tail` that belong to them); the first part begins `packed`.

    Raises CodecError unless they are valid.
    """
    if how == BITMAP:
        if tail.size < size:
            raise CodecError("the message ends inside its bitmap")
        positions = np.flatnonzero(tail[:size]).astype(np.int32)
        if positions.size != count:
            raise CodecError("the message's bitmap marks another number of elements than it says")
        return positions, size
    stops = np.flatnonzero(tail)
    if stops.size != count:
        raise CodecError("the message holds another number of gaps than it says")
    quotients: NDArray[np.int64] = stops.astype(np.int64)
    quotients[1:] -= stops[:-1]
    quotients[1:] -= 1
    if (how and 1 << how > size) or int(quotients.sum()) > size >> how:
        raise CodecError("the message marks elements beyond the model's end")
    ends = int(stops[-1]) + 1 if count else 0
    del stops  # a large model's are large
    quotients <<= how
    quotients += numbers(packed, 0, count, how)
    quotients += 1
    np.cumsum(quotients, out=quotients)
    if count and int(quotients[-1]) > size:
        raise CodecError("the message marks elements beyond the model's end")
    quotients -= 1
    return quotients.astype(np.int32), ends


def estimate_bits(count: int, size: int) -> float:
    """Expected bits for `count` positions spread evenly over `size` elements."""
    if not count:
        return 0.0
    density = min(count / size, 0.999)
    guess = _rice_guess(count, size)
    return min(float(size), *(count * _rice_bits(density, b) for b in range(max(0, guess - 1), guess + 2)))


def number_bits(values: Numbers, width: int) -> Iterator[Bits]:
    """The lowest `width` bits of each value, high bit first, in blocks."""
    for start in range(0, values.size, _BLOCK):
        block = values[start : start + _BLOCK]
        bits = np.empty((block.size, width), np.uint8)
        for i in range(width):
            bits[:, i] = block >> (width - 1 - i) & 1
        yield bits.reshape(-1)


def pack(pieces: Iterable[Bits]) -> bytes:
    """The bits of all pieces as bytes, with zeros to the end of the last."""
    packed = bytearray()
    left = np.empty(0, np.uint8)
    for piece in pieces:
        bits = np.concatenate((left, piece)) if left.size else piece
        whole = bits.size - bits.size % 8
        packed += np.packbits(bits[:whole]).data
        left = bits[whole:]
    packed += np.packbits(left).data
    return bytes(packed)


def numbers(packed: Packed, at: int, count: int, width: int) -> Numbers:
    """The `count` numbers behind bit `at`, the inverse of `number_bits`, in the narrowest type that holds
    them; one zero for a width of 0 (it broadcasts)."""
    dtype: type[Any] = np.uint8 if width <= 8 else np.uint16 if width <= 16 else np.int32
    if not width:
        return np.zeros(1, dtype)
    values: Numbers = np.zeros(count, dtype)
    for start in range(0, count, _BLOCK):
        block = values[start : start + _BLOCK]
        columns = unpack(packed, at + start * width, block.size * width).reshape(-1, width)
        for i in range(width):
            block <<= 1
            block |= columns[:, i]
    return values


def unpack(packed: Packed, at: int, count: int) -> Bits:
    """The `count` bits behind bit `at`."""
    first = at // 8
    return np.unpackbits(packed[first : -(-(at + count) // 8)])[at - 8 * first : at - 8 * first + count]


def _gaps(positions: Positions) -> NDArray[np.int32]:
    gaps = positions.copy()
    gaps[1:] -= positions[:-1]
    gaps[1:] -= 1
    return gaps


def _rice_guess(count: int, size: int) -> int:
    """Close to the best b: 2**b is about the median gap (Sattler et al. 2020; corrected by `choose`)."""
    if not count or count >= size:
        return 0
    return min(29, max(0, round(math.log2(max(1.0, math.log(2) * size / count)))))


def _rice_bits(density: float, b: int) -> float:
    return b + 1.0 / -math.expm1((1 << b) * math.log1p(-density))
