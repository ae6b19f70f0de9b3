"""What an ONNX file says of itself, without onnxruntime and without reading the graph.

The file is a protobuf message; its metadata are the fields 14, each of a key (1) and a value (2)
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, ModelProto).
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from muster.errors import MusterError

METADATA = 14
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
ENTRY_BYTES_MAX = 4_000_000
ENTRIES_MAX = 1000


def metadata_of(path: Path) -> dict[str, str]:
    """Raises MusterError("bad_data") for a file that is no ONNX model."""
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for number, size in _fields(file, os.fstat(file.fileno()).st_size):
                if number != METADATA:
                    file.seek(size, os.SEEK_CUR)
                    continue
                if size > ENTRY_BYTES_MAX or len(found) >= ENTRIES_MAX:
                    raise ValueError("too much of it")
                key, value = _entry(file.read(size))
                found[key] = value
    except OSError as error:
        raise MusterError("bad_data", f"the model {path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise MusterError("bad_data", f"the model {path} is no ONNX file: {error}") from error
    return found


def _fields(file: BinaryIO | io.BytesIO, end: int) -> Iterator[tuple[int, int]]:
    """(field, size) of those that are bytes; the file stands at their first one, and is to be moved behind.

    Raises ValueError, IndexError.
    """
    while file.tell() < end:
        number, kind = divmod(_varint(file), 8)
        if kind == VARINT:
            _varint(file)
        elif kind in (FIXED64, FIXED32):
            file.seek(8 if kind == FIXED64 else 4, os.SEEK_CUR)
        elif kind == BYTES:
            size = _varint(file)
            if size > end - file.tell():
                raise ValueError("it ends too early")
            yield number, size
        else:
            raise ValueError("a field of no kind")


def _varint(file: BinaryIO | io.BytesIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)[0]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
    raise ValueError("a number without end")


def _entry(data: bytes) -> tuple[str, str]:
    parts: dict[int, str] = {}
    with io.BytesIO(data) as file:
        for number, size in _fields(file, len(data)):
            parts[number] = file.read(size).decode()
    return parts.get(1, ""), parts.get(2, "")
