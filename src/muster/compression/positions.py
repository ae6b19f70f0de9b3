"""Where the kept elements are: the cheapest of a bitmap and Golomb-Rice coded gaps.

Rice with parameter b writes a gap g as b low bits and g >> b in unary (that many zeros and a one, the one
being the stop bit: science.md 7.3 warns of counting it twice).  The low bits of all gaps come first, then the
unary parts, so that both directions are a few vector operations.  For gaps of density p Rice needs
b + 1 / (1 - (1 - p)**(2**b)) bits each, within half a percent of the entropy at p = 1 %.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from muster.compression.codec import CodecError

BITMAP = 31  # in place of Rice's b
Bits = NDArray[np.uint8]  # one 0 or 1 an element
Positions = NDArray[np.int32]  # ascending, distinct


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


def to_bits(positions: Positions, size: int, how: int) -> tuple[Bits, Bits]:
    """(a part whose length follows from the count, a part that ends the message)."""
    if how == BITMAP:
        bitmap = np.zeros(size, np.uint8)
        bitmap[positions] = 1
        return np.empty(0, np.uint8), bitmap
    gaps = _gaps(positions)
    stops = np.cumsum((gaps >> how) + 1, dtype=np.int64) - 1
    unary = np.zeros(int(stops[-1]) + 1 if stops.size else 0, np.uint8)
    unary[stops] = 1
    return number_bits(gaps & ((1 << how) - 1), how), unary


def fixed_bits(count: int, how: int) -> int:
    """Length of the first part."""
    return 0 if how == BITMAP else count * how


def from_bits(low: Bits, tail: Bits, count: int, size: int, how: int) -> tuple[Positions, int]:
    """(positions, bits of `tail` that belong to them). Raises CodecError unless they are valid."""
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
    quotients = np.diff(stops, prepend=-1)
    quotients -= 1
    if (how and 1 << how > size) or int(quotients.sum()) > size >> how:
        raise CodecError("the message marks elements beyond the model's end")
    ends = int(stops[-1]) + 1 if count else 0
    quotients <<= how
    quotients += numbers(low, how)
    quotients += 1
    positions = np.cumsum(quotients, out=quotients)
    if count and int(positions[-1]) > size:
        raise CodecError("the message marks elements beyond the model's end")
    positions -= 1
    return positions.astype(np.int32), ends


def estimate_bits(count: int, size: int) -> float:
    """Expected bits for `count` positions spread evenly over `size` elements."""
    if not count:
        return 0.0
    density = min(count / size, 0.999)
    guess = _rice_guess(count, size)
    return min(float(size), *(count * _rice_bits(density, b) for b in range(max(0, guess - 1), guess + 2)))


def number_bits(values: NDArray[np.int32], width: int) -> Bits:
    """`width` bits for each value, high bit first."""
    bits = np.empty((values.size, width), np.uint8)
    for i in range(width):
        bits[:, i] = values >> (width - 1 - i) & 1
    return bits.reshape(-1)


def numbers(bits: Bits, width: int) -> NDArray[np.int32]:
    """The inverse of `number_bits`; zero for a width of 0 (broadcasts)."""
    if not width:
        return np.zeros(1, np.int32)
    columns = bits.reshape(-1, width)
    values = np.zeros(columns.shape[0], np.int32)
    for i in range(width):
        values <<= 1
        values |= columns[:, i]
    return values


def _gaps(positions: Positions) -> NDArray[np.int32]:
    return np.diff(positions, prepend=np.int32(-1)) - np.int32(1)


def _rice_guess(count: int, size: int) -> int:
    """Close to the best b: 2**b is about the median gap (Sattler et al. 2020; corrected by `choose`)."""
    if not count or count >= size:
        return 0
    return min(29, max(0, round(math.log2(max(1.0, math.log(2) * size / count)))))


def _rice_bits(density: float, b: int) -> float:
    return b + 1.0 / -math.expm1((1 << b) * math.log1p(-density))
