"""How a record travels: canonical bytes, an id that is their hash, and a signed envelope around both.

Equal content is equal bytes. The id is the SHA-256 of format, author, the version that the record needs, and
body; the Ed25519 signature covers that id, so that anybody can carry a record and everybody can verify it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import RECORD_BYTES_MAX, Record
from muster.protocol.versions import NEEDS_MAX, needs
from muster.protocol.vocabulary import CURRENT, UNREADABLE, RecordError

FORMAT = 2

__all__ = [
    "FORMAT",
    "UNREADABLE",
    "RecordError",
    "Signed",
    "decode",
    "encode",
    "id_of",
    "pack",
    "record_id",
    "unpack",
]


class Signed(msgspec.Struct, frozen=True, array_like=True):
    """What crosses a link. `body` is the canonical encoding of one record."""

    format: int
    author: NodeId
    needs: int  # the least version that must understand the record to act on it
    body: bytes
    signature: bytes

    @property
    def id(self) -> RecordId:
        return record_id(self.author, self.body, self.needs)


_encoder = msgspec.msgpack.Encoder()
_signed_decoder = msgspec.msgpack.Decoder(Signed)

encode = CURRENT.encode
decode = CURRENT.decode


def record_id(author: NodeId, body: bytes, needed: int) -> RecordId:
    """SHA-256 over the domain, the format, the author, the version that is needed, and the canonical body."""
    head = b"muster-record" + bytes((FORMAT, len(author))) + author + needed.to_bytes(2, "big")
    return hashlib.sha256(head + body).digest()


def id_of(author: NodeId, record: Record) -> RecordId:
    """The id of a record that this version makes."""
    return record_id(author, encode(record), needs(record))


def pack(signed: Signed) -> bytes:
    """The bytes of an envelope: MessagePack, an array of five."""
    return _encoder.encode(signed)


def unpack(wire: bytes) -> Signed:
    """The envelope in `wire`. Raises RecordError, which names the format of a record of another one."""
    if len(wire) > RECORD_BYTES_MAX:
        raise RecordError(f"a record of {len(wire)} bytes is over the limit of {RECORD_BYTES_MAX}")
    try:
        signed = _signed_decoder.decode(wire)
    except UNREADABLE as error:
        raise _other_format(wire) or RecordError(f"these bytes are no signed record: {error}") from error
    if signed.format != FORMAT or pack(signed) != wire:
        raise _other_format(wire) or RecordError("the envelope of a record is not in canonical form")
    if not 0 < signed.needs <= NEEDS_MAX or len(signed.author) > 255:
        raise RecordError("the envelope of a record names a version or an author that is none")
    return signed


def _other_format(wire: bytes) -> RecordError | None:
    """What to say of an envelope that is of another format; None: it is not."""
    try:
        raw = msgspec.msgpack.decode(wire, type=list[Any])
    except UNREADABLE:
        return None
    if not raw or not isinstance(raw[0], int) or raw[0] == FORMAT:
        return None
    sentence = f"the record has format {raw[0]}, this node reads format {FORMAT}"
    return RecordError(f"{sentence}: update muster on the older node")
