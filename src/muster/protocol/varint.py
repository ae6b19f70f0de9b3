"""Whole numbers in as few bytes as they need: LEB128, seven bits a byte, low bits first."""

from __future__ import annotations


class VarintError(ValueError):
    """These bytes hold no number of the allowed length."""


def encode_varint(number: int) -> bytes:
    """A number that is not negative: one byte below 128, two below 16384, and so on."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def decode_varint(data: bytes | memoryview, offset: int, *, bytes_max: int) -> tuple[int, int]:
    """The number at `offset`, and the offset behind it. Raises VarintError."""
    number = 0
    for index in range(bytes_max):
        if offset + index >= len(data):
            raise VarintError("the message ends inside a number")
        byte = data[offset + index]
        number |= (byte & 127) << (7 * index)
        if byte < 128:
            return number, offset + index + 1
    raise VarintError("the message holds a number that is too long")
