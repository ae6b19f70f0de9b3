"""Compresses a record against records that the receiver holds, and decompresses it.

Hash and signature cover the full canonical record.  Between neighbours the author and the body are deflated
against records that the sender expects the receiver to hold, so that an identifier of 32 bytes costs about
three.  Which records these are is said by the first `REF_BYTES` of their ids.  Of long ones only the ends are
used, but for commits and plans, which repeat most of a table.  An inline payload is appended as it is.

    form (1 byte) | references (4 bytes each) | signature (64, or none) | deflated author and body | payload

The receiver decompresses first and verifies then, so a wrong result can only fail.  A receiver that does not
hold a reference, or holds two that begin alike, asks for the record in full.  In full it is the packed
envelope (`envelope.pack`), whose first byte differs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container

import msgspec

from muster.network.sync.record_compression.dictionary import HeldRecord, deflate, dictionary, inflate
from muster.network.sync.record_compression.inline_payload import Body, cut, paste, tag_of
from muster.network.sync.record_compression.references import References
from muster.protocol.envelope import FORMAT, UNREADABLE, RecordError, Signed, pack, unpack
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Commit, Plan
from muster.protocol.versions import VERSION, Received
from muster.storage.store import Store

FORM = 2  # the high half of the first byte
REF_BYTES = 4
REFS_MAX = 2
CACHED_MAX = 128  # compressed records that are kept at hand
SIGNATURE_BYTES = 64
AUTHOR_BYTES = 32
_UNSIGNED, _WHOLE = 8, 4  # flags beside the number of references
_TABLES = {tag_of(Commit), tag_of(Plan)}  # kinds that repeat most of a table of many nodes
_FULL = 0x95  # a packed envelope begins so: an array of five
_LATER, _NEEDS_BYTES = 0x80, 2  # beside the author's length: the record needs a later version, which follows

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class CannotDecompress(Exception):
    """The record refers to what is not held here: ask for it in full."""


class RecordCompressor:
    """Compresses and decompresses by what one store holds."""

    def __init__(self, store: Store, node: NodeId = b"", *, left_out: Container[RecordId] = ()) -> None:
        """`left_out`: kept records that nothing is compressed against."""
        self._store = store
        self._references = References(store, node, left_out)
        self._compressed: OrderedDict[RecordId, bytes] = OrderedDict()

    def note(self, record_id: RecordId, author: NodeId, record: Received) -> None:
        """A record is kept from now on."""
        self._references.note(record_id, author, record)

    def compress(self, record_id: RecordId, wire: bytes) -> bytes:
        """A packed envelope compressed, or as it is where that is no shorter; all neighbours get the same."""
        known = self._compressed.get(record_id)
        if known is None:
            known = self._compress(record_id, wire)
            self._compressed[record_id] = known
            while len(self._compressed) > CACHED_MAX:
                self._compressed.popitem(last=False)
        return known

    def _compress(self, record_id: RecordId, wire: bytes) -> bytes:
        signed = unpack(wire)
        if len(signed.signature) not in (0, SIGNATURE_BYTES) or len(signed.author) not in (0, AUTHOR_BYTES):
            return wire
        known = signed.needs <= VERSION  # of a later version nothing is known but how it begins
        body: Body = _decode(signed.body)
        held = self._references.likely(record_id, signed.author, body)[:REFS_MAX] if known else []
        flags = len(held) | (0 if signed.signature else _UNSIGNED)
        whole = known and body[0] in _TABLES
        flags |= _WHOLE if whole and held else 0
        plain, payload = cut(body) if known else (body, b"")
        main = _encode(plain) if payload else signed.body
        stream = _head(signed) + main
        data = b"".join(
            (
                bytes((FORM << 4 | flags,)),
                *(record.id[:REF_BYTES] for record in held),
                signed.signature,
                deflate(stream, dictionary(held, whole=whole)),
                payload,
            )
        )
        return data if len(data) < len(wire) else wire

    def decompress(self, data: bytes) -> bytes:
        """The packed envelope. Raises CannotDecompress; RecordError for what is no record in either form."""
        if not data:
            raise RecordError("an empty message is no record")
        if data[0] == _FULL:
            return data
        if data[0] >> 4 != FORM:
            raise RecordError(
                f"the record is compressed in form {data[0] >> 4}, this node reads form {FORM}: update muster"
            )
        flags = data[0] & 15
        count = flags & 3
        at = 1 + REF_BYTES * count
        held = [self._find(data[1 + REF_BYTES * i : 1 + REF_BYTES * (i + 1)]) for i in range(count)]
        size = 0 if flags & _UNSIGNED else SIGNATURE_BYTES
        signature = data[at : at + size]
        stream, payload = inflate(data[at + size :], dictionary(held, whole=bool(flags & _WHOLE)))
        if not stream or len(signature) != size:
            raise RecordError("a compressed record is cut off")
        needs, author, main = _parted(stream)
        body = main
        try:
            if payload:
                body = _encode(paste(_decode(main), payload))
        except (*UNREADABLE, ValueError, TypeError, LookupError, OverflowError) as error:
            raise CannotDecompress(f"a compressed record does not fit what is held here: {error}") from error
        return pack(Signed(FORMAT, author, needs, body, signature))

    def _find(self, prefix: bytes) -> HeldRecord:
        found = self._store.find(prefix) if len(prefix) == REF_BYTES else []
        held = self._references.held(found[0]) if len(found) == 1 else None
        if held is None:
            raise CannotDecompress(f"{len(found)} records here begin with {prefix.hex()}")
        return held


def _head(signed: Signed) -> bytes:
    """The author, and the version that the record needs."""
    author = signed.author
    if signed.needs == 1:
        return bytes((len(author),)) + author
    return bytes((_LATER | len(author),)) + signed.needs.to_bytes(_NEEDS_BYTES, "big") + author


def _parted(stream: bytes) -> tuple[int, NodeId, bytes]:
    """The version that is needed, the author and the rest of what `_head` begins."""
    needs, at = 1, 1
    if stream[0] & _LATER:
        at = 1 + _NEEDS_BYTES
        needs = int.from_bytes(stream[1:at], "big")
    end = at + (stream[0] & ~_LATER)
    return needs, stream[at:end], stream[end:]
