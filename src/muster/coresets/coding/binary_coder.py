"""A binary arithmetic coder: bits under given probabilities, in as few bytes as their information has.

The coder is range ANS (J. Duda, arXiv 1311.2540, section 2; bytes as in F. Giesen's rans_byte) over the two
values of a bit.  Its state is one whole number below 2**30, which is one digit of a Python integer.  A chance
is a whole number of 2**16ths that the bit is 1, at least `LEAST` and at most ONE - LEAST, so that no bit is
free: a byte holds `BITS_PER_BYTE` at most, and a reader of few bytes ends soon.

ANS is a stack: `Writer` keeps what it is given and codes it from the last to the first.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.error import CoresetError

ONE_BITS = 16
ONE = 1 << ONE_BITS
HALF = ONE // 2
LEAST = 32
BITS_PER_BYTE = 11_400  # a message's byte can hold so many bits at most: 8 / -log2(1 - LEAST / ONE) is 11,356
_LOW = 1 << 22  # the state is in [_LOW, 256 * _LOW)
_STATE_BYTES = 4

Bits = NDArray[np.int64]  # 0 or 1 each
Chances = NDArray[np.int64]  # of a 1, in 2**16ths


class Coder(Protocol):
    """Writes or reads, so that a model of the data is one function for both directions."""

    def code(self, chances: Chances, bits: Bits | None) -> Bits:
        """The bits: a writer takes and returns `bits`, a reader is given None."""

    def bit(self, chance: int, bit: int | None) -> int:
        """The same for one bit."""


class Writer:
    def __init__(self) -> None:
        self._said: list[tuple[NDArray[np.uint16], NDArray[np.uint8]]] = []
        self._single: tuple[list[int], list[int]] = ([], [])  # said one by one since then

    def code(self, chances: Chances, bits: Bits | None) -> Bits:
        assert bits is not None
        self._gather()
        self._said.append((chances.astype(np.uint16), bits.astype(np.uint8)))
        return bits

    def bit(self, chance: int, bit: int | None) -> int:
        assert bit is not None
        self._single[0].append(chance)
        self._single[1].append(bit)
        return bit

    def _gather(self) -> None:
        if self._single[0]:
            self._said.append((np.array(self._single[0], np.uint16), np.array(self._single[1], np.uint8)))
            self._single = [], []

    def message(self) -> bytes:
        """All that was coded."""
        self._gather()
        state, out = _LOW, bytearray()
        for chances, bits in reversed(self._said):
            state = _push(state, out, chances[::-1].tolist(), bits[::-1].tolist())
        out += state.to_bytes(_STATE_BYTES, "little")
        out.reverse()
        return bytes(out)


def _push(state: int, out: bytearray, chances: list[int], bits: list[int]) -> int:
    """The state after these bits, the last of them first; full bytes go to `out`."""
    for chance, bit in zip(chances, bits, strict=True):
        share, start = (chance, 0) if bit else (ONE - chance, chance)
        while state >= share << 14:  # (_LOW >> ONE_BITS) * 256 * share
            out.append(state & 255)
            state >>= 8
        state = (state // share << ONE_BITS) + state % share + start
    return state


class Reader:
    """Raises CoresetError when the message ends before the last bit."""

    def __init__(self, data: bytes) -> None:
        if len(data) < _STATE_BYTES:
            raise CoresetError("the coreset ends before its first sample")
        self._data = data
        self._state = int.from_bytes(data[:_STATE_BYTES], "big")
        self._at = _STATE_BYTES
        if not _LOW <= self._state < _LOW << 8:
            raise CoresetError("the coreset's samples begin with a state that no writer leaves")

    def code(self, chances: Chances, bits: Bits | None) -> Bits:
        return np.array(self._pop(chances.tolist()), np.int64)

    def bit(self, chance: int, bit: int | None) -> int:
        return self._pop([chance])[0]

    def _pop(self, chances: list[int]) -> list[int]:
        state, at, data = self._state, self._at, self._data
        bits = []
        try:
            for chance in chances:
                slot = state & ONE - 1
                if slot < chance:
                    state = chance * (state >> ONE_BITS) + slot
                    bits.append(1)
                else:
                    state = (ONE - chance) * (state >> ONE_BITS) + slot - chance
                    bits.append(0)
                while state < _LOW:
                    state = state << 8 | data[at]
                    at += 1
        except IndexError:
            raise CoresetError("the coreset ends inside its samples") from None
        self._state, self._at = state, at
        return bits

    def end(self) -> None:
        """Raises CoresetError unless the message ends here as a writer ends it."""
        if self._at != len(self._data) or self._state != _LOW:
            raise CoresetError("the coreset does not end where its samples end")
