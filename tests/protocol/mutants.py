"""Every field of a record with every nasty value: one mutant each."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from muster.protocol.envelope import decode, encode
from muster.protocol.parts import Payload
from muster.protocol.records import Record

WHOLE = (-(2**63), -1, 0, 1, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
REAL = (math.nan, math.inf, -math.inf, -1.0, 0.0, 5e-324, 1e308, -1e308)
TEXT = ("", "x" * 5000, "\x1b[2J", "a\nb", "\u202eabc", "auto", "stc:nan", "stc:1e-300", "stc:9", "dense99")
BYTES = (b"", b"x", bytes(32), bytes(33), b"\xff" * 4000, struct.pack("<4f", math.nan, math.inf, 0.0, 1.0))
WHERE_NONE: tuple[Any, ...] = (*WHOLE, *REAL, b"", bytes(32), Payload("dense32", 2**63, blob=bytes(32)))

Mutant = tuple[str, Any, Record]


def mutants(record: Record) -> Iterator[Mutant]:
    """(field, value, record); only what its author could sign and anybody can decode."""
    for path, value, changed in _of_struct(record, record.KIND):
        try:
            body = encode(changed)
            if decode(body) == record:
                continue
        except (ValueError, OverflowError, TypeError, AttributeError):  # no such record can be made
            continue
        yield path, value, decode(body)


def _of_struct(struct_: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    for name in struct_.__struct_fields__:
        for where, value, changed in _of_value(getattr(struct_, name), f"{path}.{name}"):
            yield where, value, msgspec.structs.replace(struct_, **{name: changed})


def _of_value(value: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    nasty: tuple[Any, ...] = ()
    if value is None:
        nasty = WHERE_NONE
    elif isinstance(value, bool):
        nasty = (not value,)
    elif isinstance(value, int):
        nasty = (*WHOLE, value + 1, value - 1)
    elif isinstance(value, float):
        nasty = REAL
    elif isinstance(value, str):
        nasty = TEXT
    elif isinstance(value, bytes):
        nasty = BYTES
    elif isinstance(value, tuple):
        yield from _of_tuple(value, path)
    elif isinstance(value, msgspec.Struct):
        yield path, "none", None
        yield from _of_struct(value, path)
    for one in nasty:
        yield path, one, one


def _of_tuple(value: tuple[Any, ...], path: str) -> Iterator[tuple[str, Any, Any]]:
    yield path, "empty", ()
    if not value:
        yield path, "an id", (bytes(32),)
        return
    yield path, "twice", value + value
    yield path, "the last twice", (*value, value[-1])
    yield path, "reversed", value[::-1]
    yield path, "many", value * 300
    for at in sorted({0, len(value) - 1}):
        for where, one, changed in _of_value(value[at], f"{path}[{'last' if at else 'first'}]"):
            yield where, one, (*value[:at], changed, *value[at + 1 :])
