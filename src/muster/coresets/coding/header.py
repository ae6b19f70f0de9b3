"""What a message says before its samples: kinds, bits, numbers and shape. All of it checked."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.checks import (
    AXES_MAX,
    NUMBER_MAX,
    SPACES,
    WEIGHT_MAX,
    check_fit,
    check_size,
)
from muster.coresets.coding.error import CoresetError
from muster.coresets.coding.labels import EQUAL, REAL
from muster.coresets.coreset import KINDS, Space
from muster.protocol.varint import VarintError, decode_varint, encode_varint

FORMAT = 1
UNIT, PAIR, COLUMNS = range(3)  # levels lie between 0 and 1, one pair of bounds, or one a column
_VARINT_BYTES = 5

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Header:
    space: str  # of SPACES
    kind: str  # of KINDS
    bits: int
    count: int
    classes: int
    shape: tuple[int, ...]
    form: int  # of the weights
    weight: float  # of each sample, if all are equal
    targets: tuple[float, float]  # the least and the largest, if there are no classes
    bounds: int  # UNIT, PAIR or COLUMNS


def write_header(header: Header) -> bytes:
    first = FORMAT << 4 | header.bounds << 2 | SPACES.index(header.space)
    second = KINDS.index(header.kind) << 5 | header.form << 3 | header.bits - 1
    out = bytearray((first, second))
    for number in (header.count, header.classes, len(header.shape), *header.shape):
        out += encode_varint(number)
    if header.form == EQUAL:
        out += struct.pack("<f", header.weight)
    if not header.classes:
        out += struct.pack("<2f", *header.targets)
    return bytes(out)


class _Bytes:
    """Reads from the beginning on. Raises CoresetError at the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise CoresetError("the coreset ends inside its header")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        try:
            number, self.at = decode_varint(self.data, self.at, bytes_max=_VARINT_BYTES)
        except VarintError:
            raise CoresetError("the coreset's header holds no number where one belongs") from None
        return number

    def floats(self, count: int) -> Floats:
        values = np.frombuffer(self.take(4 * count), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise CoresetError("the coreset's header holds a number that is not finite")
        return values


def read_header(data: bytes, space: Space, samples_max: int) -> tuple[Header, int]:
    """The header and where it ends. Raises CoresetError unless it is of this space and in all limits."""
    source = _Bytes(data)
    first, second = source.take(2)
    if first >> 4 != FORMAT:
        raise CoresetError(f"the coreset is of format {first >> 4}; this version of Muster reads {FORMAT}")
    bounds, form = first >> 2 & 3, second >> 3 & 3
    if first & 3 >= len(SPACES) or bounds > COLUMNS or second >> 5 >= len(KINDS) or form > REAL:
        raise CoresetError("the coreset is of a kind that this version of Muster does not know")
    kind, bits = SPACES[first & 3], (second & 7) + 1
    count, classes, axes = source.number(), source.number(), source.number()
    if axes > AXES_MAX:
        raise CoresetError(f"the coreset's samples have {axes} axes; at most {AXES_MAX} are read")
    shape = tuple(source.number() for _ in range(axes))
    check_fit(kind, shape, classes, space)
    check_size(kind, count, shape, bits, samples_max)
    weight = float(source.floats(1)[0]) if form == EQUAL else 1.0
    if not 0 < weight <= WEIGHT_MAX:
        raise CoresetError("the coreset's weights are not above 0 and at most 2**32")
    low, high = source.floats(2).tolist() if not classes else (0.0, 0.0)
    if not -NUMBER_MAX <= low <= high <= NUMBER_MAX:
        raise CoresetError("the coreset's targets lie between numbers that are no bounds")
    header = Header(kind, KINDS[second >> 5], bits, count, classes, shape, form, weight, (low, high), bounds)
    return header, source.at
