"""Chances of bits, learnt from the bits before: a chain of contexts, from the widest to the narrowest.

Each context counts its zeros and ones.  A narrow one begins with what the wider one before it says, worth
`trust` observations, and so an unseen context is no loss: p = (ones + trust * p_wider) / (seen + trust).
(Interpolated as in language models: Jelinek and Mercer 1980, with Dirichlet weights.)  Whole numbers only, so
that every machine has the same chances.  What is coded together is predicted together, then counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.binary_coder import HALF, LEAST, ONE, ONE_BITS, Coder

Contexts = NDArray[np.uint64]  # (links of the chain, values): any numbers
Values = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: Fibonacci hashing (Knuth 6.4)
_HALF_BITS, _LOW_HALF = 32, (1 << 32) - 1
_PREFIXES = np.uint64(512)  # more than any prefix of a value of eight bits


class Chain:
    """`trusts` are those of its links; `table_bits`: each link has 2**table_bits places for its contexts."""

    def __init__(self, trusts: tuple[int, ...], table_bits: int) -> None:
        self._trusts = trusts
        self._shift = np.uint64(64 - table_bits)
        self._first = np.arange(len(trusts), dtype=np.int64)[:, None] << table_bits
        self._seen = np.zeros(
            len(trusts) << table_bits, np.int64
        )  # bits, and in the high half those that are 1

    def code(self, coder: Coder, contexts: Contexts, bits: int, values: Values | None) -> Values:
        """`values` of `bits` bits each, from the highest bit down; None: they are read."""
        prefix = np.ones(contexts.shape[1], np.uint64)
        contexts = contexts * _PREFIXES
        for low in range(bits - 1, -1, -1):
            places = (((contexts + prefix) * _GOLDEN) >> self._shift).astype(np.int64) + self._first
            coded = coder.code(self._chances(places), None if values is None else values >> low & 1)
            counted = np.broadcast_to((coded << _HALF_BITS) + 1, places.shape)
            np.add.at(self._seen, places.reshape(-1), counted.reshape(-1))
            prefix = prefix * np.uint64(2) + coded.astype(np.uint64)
        return prefix.astype(np.int64) - (1 << bits)

    def _chances(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        seen = self._seen.take(places)
        ones, seen = seen >> _HALF_BITS, seen & _LOW_HALF
        chances = np.full(places.shape[1], HALF, np.int64)
        for link, trust in enumerate(self._trusts):
            chances = ((ones[link] << ONE_BITS) + trust * chances) // (seen[link] + trust)
        return np.minimum(np.maximum(chances, LEAST), ONE - LEAST)


def table_bits(decisions: int) -> int:
    """Of a table for so many bits: few collisions, and no more than 8 MB a link."""
    return min(max(decisions.bit_length() + 1, 10), 20)


class Number:
    """Whole numbers that are not negative: Elias's gamma code, whose length is learnt bit by bit."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], list[int]] = {}

    def code(self, coder: Coder, number: int | None, bits_max: int) -> int:
        """`number` below 2**bits_max; None: it is read."""
        length = 0 if number is None else number.bit_length()
        coded = 0
        while coded < bits_max and self._bit(coder, (0, coded), None if number is None else length > coded):
            coded += 1
        value = 1 if coded else 0
        for low in range(coded - 2, -1, -1):
            bit = None if number is None else number >> low & 1 == 1
            place = (coded, 0) if low == coded - 2 else None  # the bit after the first is still learnt
            value = value << 1 | self._bit(coder, place, bit)
        return value

    def _bit(self, coder: Coder, place: tuple[int, int] | None, bit: bool | None) -> int:
        if place is None:
            return coder.bit(HALF, bit)
        seen = self._seen.setdefault(place, [1, 1])
        chance = (seen[1] << ONE_BITS) // (seen[0] + seen[1])
        coded = coder.bit(min(max(chance, LEAST), ONE - LEAST), bit)
        seen[coded] += 2  # from a half each (Krichevsky and Trofimov 1981)
        return coded
