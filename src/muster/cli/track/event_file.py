"""TensorBoard's event files, as far as scalars and texts go: written and read here, without a package.

A file is a row of TFRecords (length, its CRC, data, its CRC), the data an `Event` of tensorflow/core/util/
event.proto.  The packages that write them import torch or gRPC, which costs seconds and 200 MB; the format
has been the same since 2015.  tests/cli/track/test_tensorboard.py reads these files with tensorboardX.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

RECORD_BYTES_MAX = 16 * 1024 * 1024
DT_STRING = 7
_CASTAGNOLI = 0x82F63B78


@dataclass(frozen=True)
class Event:
    """Values at a step. They stand in one record: a reader sees all of them, or none."""

    wall_s: float
    step: int
    scalars: Mapping[str, float] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)


def header(wall_s: float) -> bytes:
    """The record that a file begins with."""
    return record(_double(1, wall_s) + _bytes(3, b"brain.Event:2"))


def encode(event: Event) -> bytes:
    """The record of an event."""
    values = [_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in event.scalars.items()]
    values += [_bytes(1, _text(tag, text)) for tag, text in event.texts.items()]
    return record(_double(1, event.wall_s) + _int(2, event.step) + _bytes(5, b"".join(values)))


def decode(data: bytes) -> Event | None:
    """The event in a record's data; None when there are no values in it. Raises ValueError."""
    event = dict(_fields(data))
    if 5 not in event:
        return None
    scalars, texts = dict[str, float](), dict[str, str]()
    for number, value in _fields(bytes(event[5])):
        if number != 1:
            continue
        parts = dict(_fields(bytes(value)))
        tag = bytes(parts.get(1, b"")).decode("utf-8", "replace")
        if 2 in parts:
            scalars[tag] = struct.unpack("<f", bytes(parts[2]))[0]
        elif 8 in parts:
            tensor = dict(_fields(bytes(parts[8])))
            texts[tag] = bytes(tensor.get(8, b"")).decode("utf-8", "replace")
    wall_s = struct.unpack("<d", bytes(event.get(1, bytes(8))))[0]
    return Event(wall_s, int.from_bytes(bytes(event.get(2, b"")), "little"), scalars, texts)


def read(data: bytes) -> Iterator[Event]:
    """The events of a file, up to a record that was cut off or is damaged."""
    at = 0
    while at + 12 <= len(data):
        (length, length_crc) = struct.unpack_from("<QI", data, at)
        end = at + 12 + length + 4
        if length > RECORD_BYTES_MAX or end > len(data) or masked_crc(data[at : at + 8]) != length_crc:
            return
        body = data[at + 12 : end - 4]
        if masked_crc(body) != struct.unpack_from("<I", data, end - 4)[0]:
            return
        try:
            event = decode(body)
        except (ValueError, struct.error):
            return
        if event is not None:
            yield event
        at = end


def record(data: bytes) -> bytes:
    """A TFRecord."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data)))
    )


def masked_crc(data: bytes) -> int:
    """CRC-32C of the data, rotated and shifted as TFRecords have it.

    >>> hex(masked_crc(b"123456789"))
    '0xc7bb0e84'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _table()


def _text(tag: str, text: str) -> bytes:
    """A value of the text plugin: a tensor of one string."""
    shape = _bytes(2, _bytes(2, _int(1, 1)))
    tensor = _int(1, DT_STRING) + shape + _bytes(8, text.encode())
    return _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, _bytes(1, _bytes(1, b"text")))


# ---- protocol buffers: a field is its number and wire type, then its value ------------------------------


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _int(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(number, value) of each field; a whole number as 8 bytes, little-endian. Raises ValueError."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("a number is cut off")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF
            shift += 7

    while at < len(data):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            yield number, varint().to_bytes(8, "little")
            continue
        length = {1: 8, 5: 4}.get(kind) if kind != 2 else varint()
        if length is None or at + length > len(data):
            raise ValueError("a field is cut off or of an unknown type")
        yield number, data[at : at + length]
        at += length
