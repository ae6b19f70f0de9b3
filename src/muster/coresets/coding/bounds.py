"""The bounds that levels lie between, to a thousandth of their distance: three bytes a column, not eight.

A column's low end and width are multiples, the width 1024 to 2047 times, of a power of two.  Its exponent
travels as the difference to that of the column before.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.adaptive import Number
from muster.coresets.coding.binary_coder import Coder
from muster.coresets.coding.checks import bounded
from muster.coresets.coding.error import CoresetError

_WIDTH_BITS = 10  # behind the first
_TOP = 1 << _WIDTH_BITS
_LOW_BITS = 40
_EXPONENT_BITS = 9

Floats = NDArray[np.float32]


def code_bounds(coder: Coder, columns: int, bounds: tuple[Floats, Floats] | None) -> tuple[Floats, Floats]:
    """(low, high) of each column, nearly; `bounds` None: they are read."""
    exponents, lows, widths = Number(), Number(), Number()
    exponent, found = 0, []
    for column in range(columns):
        given: tuple[int, int, int] | tuple[None, None, None] = (None, None, None)
        if bounds is not None:
            given = _parts(float(bounds[0][column]), float(bounds[1][column]), exponent)
        exponent += _signed(exponents, coder, given[0], _EXPONENT_BITS)
        width = _TOP + widths.code(coder, given[1], _WIDTH_BITS)
        low = _signed(lows, coder, given[2], _LOW_BITS)
        if not abs(exponent) < 1 << _EXPONENT_BITS:
            raise CoresetError("the coreset's inputs lie between numbers that are no bounds")
        found.append((math.ldexp(low, exponent), math.ldexp(low + width, exponent)))
    low, high = np.array(found).T
    if not bounded(low, high):
        raise CoresetError("the coreset's inputs lie between numbers that are no bounds")
    return low.astype(np.float32), high.astype(np.float32)


def _parts(low: float, high: float, before: int) -> tuple[int, int, int]:
    """The exponent's difference to the one before, the width without its first bit, and the low end."""
    exponent = math.frexp(high - low)[1] - _WIDTH_BITS - 1
    width = round(math.ldexp(high - low, -exponent))
    if width == 2 * _TOP:
        exponent, width = exponent + 1, _TOP
    return exponent - before, width - _TOP, round(math.ldexp(low, -exponent))


def _signed(numbers: Number, coder: Coder, number: int | None, bits_max: int) -> int:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    coded = numbers.code(coder, None if number is None else 2 * abs(number) - (number < 0), bits_max)
    return -(coded + 1 >> 1) if coded & 1 else coded >> 1
