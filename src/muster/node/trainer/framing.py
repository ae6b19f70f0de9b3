"""Messages on the child's pipes: a MessagePack map behind its length (u32, big-endian)."""

from __future__ import annotations

import asyncio
import struct
from typing import Any, BinaryIO

import msgspec

MESSAGE_BYTES_MAX = 16 * 1024 * 1024  # the layout of a model of 65,536 tensors fits

_LENGTH = struct.Struct(">I")


def pack_message(message: dict[str, Any]) -> bytes:
    """The bytes of a message. Raises ValueError when it is over the limit."""
    body = msgspec.msgpack.encode(message)
    if len(body) > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {len(body)} bytes is over the limit of {MESSAGE_BYTES_MAX}")
    return _LENGTH.pack(len(body)) + body


def read_message(file: BinaryIO) -> dict[str, Any] | None:
    """The next message of a file, or None at its end. Raises ValueError, MsgspecError."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MESSAGE_BYTES_MAX:
        raise ValueError(f"a message of {length} bytes is over the limit of {MESSAGE_BYTES_MAX}")
    body = file.read(length)
    return None if len(body) < length else msgspec.msgpack.decode(body, type=dict[str, Any])


async def receive_message(stream: asyncio.StreamReader) -> dict[str, Any]:
    """The next message of a stream.

    Raises IncompleteReadError at its end, ConnectionError for a message over the limit, MsgspecError for one
    that cannot be read.
    """
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    if length > MESSAGE_BYTES_MAX:
        raise ConnectionError("the child's message is over the limit")
    body = await stream.readexactly(length)
    return msgspec.msgpack.decode(body, type=dict[str, Any])
