"""How a record travels: canonical bytes, an id that is their hash, and a signed envelope around both.

Equal content is equal bytes. The id is the SHA-256 of format, author and body; the Ed25519 signature covers
that id, so that anybody can carry a record and everybody can verify it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import RECORD_BYTES_MAX, Record

FORMAT = 1

# What msgspec raises for bytes that are no message; it has no errors of its own for text that is not UTF-8,
# and for lists in lists without end.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class RecordError(ValueError):
    """Bytes that are not a record of this format; the message is one sentence for people."""


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """What crosses a link. `body` is the canonical encoding of one record."""

    format: int
    author: NodeId
    body: bytes
    signature: bytes


_encoder = msgspec.msgpack.Encoder()
_record_decoder = msgspec.msgpack.Decoder(Record)
_signed_decoder = msgspec.msgpack.Decoder(Signed)


def encode(record: Record) -> bytes:
    """The canonical bytes of a record."""
    return _encoder.encode(record)


def decode(body: bytes) -> Record:
    """The record in `body`. Raises RecordError with one sentence."""
    try:
        record: Record = _record_decoder.decode(body)
    except UNREADABLE as error:
        raise RecordError(f"these bytes are not a record of format {FORMAT}: {error}") from error
    if encode(record) != body:
        raise RecordError("the record is not in canonical form")
    return record


def record_id(author: NodeId, body: bytes) -> RecordId:
    """SHA-256 over the domain, the format, the author and the canonical body."""
    head = b"muster-record" + bytes((FORMAT, len(author))) + author
    return hashlib.sha256(head + body).digest()


def pack(signed: Signed) -> bytes:
    """The bytes of an envelope: MessagePack, an array of four."""
    return _encoder.encode(signed)


def unpack(wire: bytes) -> Signed:
    """The envelope in `wire`. Raises RecordError, which names the format of a record of another version."""
    if len(wire) > RECORD_BYTES_MAX:
        raise RecordError(f"a record of {len(wire)} bytes is over the limit of {RECORD_BYTES_MAX}")
    try:
        raw = msgspec.msgpack.decode(wire, type=list[Any])
    except UNREADABLE as error:
        raise RecordError(f"these bytes are no record: {error}") from error
    if raw and raw[0] != FORMAT:
        raise RecordError(f"the record has format {raw[0]!r}, this node reads format {FORMAT}: update muster")
    try:
        return _signed_decoder.decode(wire)
    except UNREADABLE as error:
        raise RecordError(f"these bytes are no signed record: {error}") from error
