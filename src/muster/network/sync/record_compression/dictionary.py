"""Deflate (RFC 1951) with a preset dictionary: bytes that both ends hold cost a pointer of a few bits."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from muster.protocol.envelope import RecordError
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import RECORD_BYTES_MAX

WINDOW_BYTES = 32 * 1024  # further back deflate cannot point
_LONG_BYTES, _END_BYTES = 6 * 1024, 3 * 1024
_COMMON = (
    b"\xa3min\xa3max\xa2r2\xa3mae\xaaperplexity\xa8accuracy\xa4loss "
    b"auto dense fp32 fp16 stc topk ternary q8 q4 the update does not fit the model or is not finite "
)


@dataclass(frozen=True)
class HeldRecord:
    """A record that is kept here."""

    id: RecordId
    author: NodeId
    body: bytes


def dictionary(held: Sequence[HeldRecord], *, whole: bool = False) -> bytes:
    """What deflate may point into: the most useful last, where pointing is cheapest.

    `whole`: also the middle of long records, which takes a processor longer: for records that repeat a table.
    """
    parts = [_COMMON]
    for record in reversed(held):
        parts += [record.body if whole else _ends(record.body), record.author, record.id]
    return b"".join(parts)[-WINDOW_BYTES:]


def _ends(body: bytes) -> bytes:
    """Of a long body (a large payload) the two ends."""
    return body if len(body) <= _LONG_BYTES else body[:_END_BYTES] + body[-_END_BYTES:]


def deflate(data: bytes, known: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, known)
    return coder.compress(data) + coder.flush()


def inflate(data: bytes, known: bytes) -> tuple[bytes, bytes]:
    """What was deflated, and what follows it. Raises RecordError."""
    coder = zlib.decompressobj(-15, known)
    try:
        out = coder.decompress(data, RECORD_BYTES_MAX)
    except zlib.error as error:
        raise RecordError(f"a compressed record is damaged: {error}") from error
    if not coder.eof:
        raise RecordError("a compressed record is cut off or over the limit")
    return out, coder.unused_data
