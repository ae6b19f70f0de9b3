"""What the sparse codecs share: which elements are kept, and the frame around positions and values.

first byte (family, position coding), count (LEB128), parameters of the values, bits:
low bits of the positions, values, rest of the positions, zeros to the end of the byte
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import numpy as np

from muster.compression.codec import (
    TINY,
    CodecError,
    Message,
    Vector,
    check_size,
    first_byte,
    take_count,
)
from muster.compression.codecs import positions as pos
from muster.compression.codecs.positions import Positions
from muster.protocol.varint import encode_varint

_SAMPLE = 1 << 16
_BLOCK = 1 << 17
_SCATTERED = 1 << 15


def kept_count(density: float, size: int) -> int:
    """At least one element of a vector that has any."""
    return min(size, max(1, round(density * size)))


def largest(vector: Vector, count: int, floor: float = TINY) -> Positions:
    """Positions of the `count` largest magnitudes (fewer where the rest is below `floor`), ascending.

    Of equal magnitudes at the border those with the lowest positions are kept.  A sample bounds the
    threshold from below, so that the exact selection sees little more than `count` elements.
    """
    if not count or not vector.size:
        return np.empty(0, np.int32)
    bound = max(floor, _lower_bound(vector, count))
    candidates = _at_least(vector, bound)
    if candidates.size < count and bound > floor:
        candidates = _at_least(vector, floor)
    if candidates.size <= count:
        return candidates
    values = vector[candidates]
    np.abs(values, out=values)
    threshold = np.partition(values, values.size - count)[values.size - count]
    keep = values > threshold
    ties = np.flatnonzero(values == threshold)
    keep[ties[: count - int(keep.sum())]] = True
    chosen: Positions = candidates[keep]
    return chosen


def _lower_bound(vector: Vector, count: int) -> float:
    stride = vector.size // _SAMPLE
    if stride < 2:
        return 0.0
    sample = np.abs(vector[::stride])
    expected = count / stride
    rank = int(expected + 4 * expected**0.5 + 8)  # four standard deviations to the safe side
    if rank >= sample.size:
        return 0.0
    return float(np.partition(sample, sample.size - rank)[sample.size - rank])


def _at_least(vector: Vector, bound: float) -> Positions:
    """Positions of the magnitudes that reach `bound`, found block by block to save memory."""
    starts = range(0, vector.size, _BLOCK)
    found = (
        np.flatnonzero(np.abs(vector[s : s + _BLOCK]) >= bound).astype(np.int32) + np.int32(s) for s in starts
    )
    return np.concatenate([np.empty(0, np.int32), *found])


def frame(
    family: int, where: Positions, size: int, parameters: bytes, values: pos.Numbers, width: int
) -> bytes:
    """The message, `width` bits a value; without elements it is two bytes and has no parameters."""
    if not where.size:
        return first_byte(family) + encode_varint(0)
    how = pos.choose(where, size)
    low, tail = pos.to_bits(where, size, how)
    body = pos.pack(chain(low, pos.number_bits(values, width), (tail,)))
    return b"".join((first_byte(family, how), encode_varint(where.size), parameters, body))


def unframe(
    data: Message, size: int, parameter_bytes: int, width: int
) -> tuple[Positions, bytes, pos.Numbers]:
    """(positions, the parameters' bytes, one number of `width` bits for each position). Raises CodecError."""
    check_size(size)
    if not data:
        raise CodecError("the message is empty")
    how = data[0] & 31
    count, offset = take_count(data, 1)
    if count > size:
        raise CodecError(f"the message marks {count} elements where the model has {size}")
    if not count:
        if offset != len(data) or how:
            raise CodecError("the message goes on behind its end")
        return np.empty(0, np.int32), b"", np.empty(0, np.uint8)
    parameters = bytes(data[offset : offset + parameter_bytes])
    body = memoryview(data)[offset + parameter_bytes :]
    split = pos.fixed_bits(count, how)
    if len(parameters) < parameter_bytes or 8 * len(body) < split + count * width:
        raise CodecError("the message ends before its last element")
    if 8 * len(body) > split + count * (width + 1) + size + 8:
        raise CodecError("the message goes on behind its end")
    packed = np.frombuffer(body, np.uint8)
    values_end = split + count * width
    tail = pos.unpack(packed, values_end, 8 * len(body) - values_end)
    where, used = pos.from_bits(packed, tail, count, size, how)
    if tail.size - used > 7 or tail[used:].any():
        raise CodecError("the message goes on behind its end")
    return where, parameters, pos.numbers(packed, split, count, width)


def scatter(
    where: Positions, codes: pos.Numbers, value_of: Callable[[pos.Numbers], Vector], size: int
) -> Vector:
    """Zeros, and at each position what its code means; block by block to save memory."""
    vector = np.zeros(size, np.float32)
    for s in range(0, where.size, _SCATTERED):
        vector[where[s : s + _SCATTERED]] = value_of(codes[s : s + _SCATTERED])
    return vector


def estimate(count: int, size: int, parameter_bytes: int, width: int) -> int:
    bits = pos.estimate_bits(count, size) + count * width
    return 1 + len(encode_varint(count)) + parameter_bytes + -(-int(bits) // 8)
