"""Records as they cross a link: what both ends hold already is not sent again (design section 4).

Hash and signature cover the full canonical record.  Between neighbours a record goes in short: the author and
the body, deflated against records that the sender expects the receiver to hold (RFC 1951 with a preset
dictionary), so that an identifier of 32 bytes costs about three.  Which records these are is said by the
first `REF_BYTES` of their ids.  A commit goes as what a receiver cannot work out from its parent
(`commit_form`).  An inline payload has no redundancy left and is appended as it is.

    form (1 byte) | references (4 bytes each) | signature (64, or none) | deflated author and body | payload

The receiver expands first and verifies then, so a wrong expansion can only fail.  A receiver that does not
hold a reference, or holds two that begin alike, asks for the record in full.  The full form is the packed
envelope (`envelope.pack`), whose first byte differs.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import msgspec

from muster.network.sync import commit_delta as commit_form
from muster.protocol.envelope import FORMAT, RecordError, Signed, pack, unpack
from muster.protocol.records import (
    RECORD_BYTES_MAX,
    BlobId,
    Commit,
    Member,
    NodeId,
    Plan,
    Record,
    RecordId,
    Update,
)
from muster.storage.store import Store

FORM = 1  # the high half of the first byte
REF_BYTES = 4
REFS_MAX = 2
CACHED_MAX = 128  # references that are kept at hand
SIGNATURE_BYTES = 64
_UNSIGNED, _COLUMNS = 8, 4  # flags beside the number of references
_AUTHOR_BYTES = 32
_FULL = 0x94  # a packed envelope begins so: an array of four
_PAYLOAD_AT = {6: 9, 7: 11}  # tag of a record -> where its payload stands (Update, Commit)
_STATIC = b"auto dense fp32 fp16 stc topk ternary q8 q4 the update does not fit the model or is not finite "

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class CannotDecompress(Exception):
    """The short form cannot be expanded here: ask for the record in full."""


class RecordCompressor:
    """Writes and reads the short form of records by what one store holds."""

    def __init__(self, store: Store, node: NodeId = b"") -> None:
        self._store, self._node = store, node
        self._bodies: OrderedDict[RecordId, tuple[bytes, bytes]] = OrderedDict()  # id -> author, body
        # author, job -> the newest two plans, the newest last: of a plan itself the one before it is wanted
        self._last: OrderedDict[tuple[bytes, bytes], tuple[RecordId, ...]] = OrderedDict()
        self._members: dict[NodeId, RecordId] = {}
        self._short: OrderedDict[RecordId, bytes] = OrderedDict()

    def compress(self, record_id: RecordId, wire: bytes) -> bytes:
        """The smaller of the short and the full form of a packed envelope; neighbours get the same."""
        known = self._short.get(record_id)
        if known is None:
            known = self._compressed(record_id, wire)
            self._short[record_id] = known
            while len(self._short) > CACHED_MAX:
                self._short.popitem(last=False)
        return known

    def _compressed(self, record_id: RecordId, wire: bytes) -> bytes:
        signed = unpack(wire)
        body: list[Any] = _decode(signed.body)
        if len(signed.signature) not in (0, SIGNATURE_BYTES) or len(signed.author) not in (0, _AUTHOR_BYTES):
            return wire
        refs = [ref for ref in self._references(record_id, signed.author, body) if ref != record_id]
        held = [(ref, found) for ref in refs if (found := self._held(ref)) is not None][:REFS_MAX]
        flags = len(held) | (0 if signed.signature else _UNSIGNED)
        plain, tail = _cut(body)
        if held and (columns := commit_form.shorten(body, held[0][0], _decode(held[0][1][1]))) is not None:
            flags |= _COLUMNS
            plain, tail = _cut_columns(columns)
        main = _encode(plain) if flags & _COLUMNS or tail else signed.body
        stream = bytes((len(signed.author),)) + signed.author + main
        short = b"".join(
            (
                bytes((FORM << 4 | flags,)),
                *(ref[:REF_BYTES] for ref, _ in held),
                signed.signature,
                _deflate(stream, _dictionary([(ref, *found) for ref, found in held])),
                tail,
            )
        )
        return short if len(short) < len(wire) else wire

    def decompress(self, data: bytes) -> bytes:
        """The packed envelope. Raises CannotDecompress; RecordError for what is no record in either form."""
        if not data:
            raise RecordError("an empty message is no record")
        if data[0] == _FULL:
            return data
        if data[0] >> 4 != FORM:
            raise RecordError(
                f"the record comes in short form {data[0] >> 4}, this node reads form {FORM}: update muster"
            )
        flags = data[0] & 15
        count = flags & 3
        at = 1 + REF_BYTES * count
        held = [self._find(data[1 + REF_BYTES * i : 1 + REF_BYTES * (i + 1)]) for i in range(count)]
        size = 0 if flags & _UNSIGNED else SIGNATURE_BYTES
        signature = data[at : at + size]
        stream, tail = _inflate(data[at + size :], _dictionary(held))
        if not stream or len(signature) != size:
            raise RecordError("a record in short form is cut off")
        author, main = stream[1 : 1 + stream[0]], stream[1 + stream[0] :]
        body = main
        try:
            if flags & _COLUMNS:
                if not held:
                    raise CannotDecompress("a commit in short form names no parent")
                plain = commit_form.expand(
                    _pasted_columns(_decode(main), tail), held[0][0], _decode(held[0][2])
                )
                body = _encode(plain)
            elif tail:
                body = _encode(_pasted(_decode(main), tail))
        except (msgspec.MsgspecError, ValueError, TypeError, LookupError, OverflowError) as error:
            raise CannotDecompress(
                f"a record in short form does not fit what is held here: {error}"
            ) from error
        return pack(Signed(FORMAT, author, body, signature))

    def _references(self, own: RecordId, author: bytes, body: list[Any]) -> Iterator[RecordId]:
        """What the receiver is likely to hold and the record to repeat, most useful first."""
        tag = body[0]
        if tag in (5, 6, 9):  # Plan, Update, Measurement: on a commit
            ground = self._ground(body[2])
            yield ground
            earlier = [p for p in self._last.get((author, body[1]), ()) if p != own] if tag == 5 else []
            if earlier:
                yield earlier[-1]
            elif (held := self._held(ground)) is None or author not in held[1]:
                yield from self._member(author)
        elif tag == 7:  # Commit
            yield self._ground(body[2][0]) if body[2] else body[1]
        elif tag in (3, 4, 10):  # Offer, Refusal, Stop: on a job
            yield body[1]
            yield from self._member(author)
        elif tag == 2:  # Job
            yield from self._member(author)
        elif tag == 1:  # Member: all certificates of a fleet are alike
            yield from self._member(self._node)

    def _member(self, author: NodeId) -> Iterator[RecordId]:
        if (member := self._members.get(author)) is not None:
            yield member

    def _ground(self, commit: RecordId) -> RecordId:
        """The commit itself; of a merge, which says nothing but its parents, the first of its line."""
        for _ in range(16):
            held = self._held(commit)
            if held is None:
                return commit
            body = _decode(held[1])
            if body[0] != 8:
                return commit
            commit = body[2][0]
        return commit

    def note(self, record_id: RecordId, author: NodeId, record: Record) -> None:
        """A record that is held from now on."""
        if isinstance(record, Member):
            self._members[author] = record_id
        elif isinstance(record, Plan):
            key = author, record.job
            self._last[key] = (*self._last.get(key, ())[-1:], record_id)
            self._last.move_to_end(key)
            if len(self._last) > CACHED_MAX:
                self._last.popitem(last=False)

    def _held(self, record_id: RecordId) -> tuple[bytes, bytes] | None:
        known = self._bodies.get(record_id)
        if known is not None:
            self._bodies.move_to_end(record_id)
            return known
        stored = self._store.get(record_id)
        if stored is None:
            return None
        signed = unpack(stored.wire)
        self._bodies[record_id] = signed.author, signed.body
        if len(self._bodies) > CACHED_MAX:
            self._bodies.popitem(last=False)
        return signed.author, signed.body

    def _find(self, prefix: bytes) -> tuple[RecordId, bytes, bytes]:
        found = self._store.find(prefix) if len(prefix) == REF_BYTES else []
        held = self._held(found[0]) if len(found) == 1 else None
        if held is None:
            raise CannotDecompress(f"{len(found)} records here begin with {prefix.hex()}")
        return found[0], *held


def blobs(record: Record) -> list[BlobId]:
    """The blobs that a record names."""
    payload = record.payload if isinstance(record, Update) else None
    named = [record.params] if isinstance(record, Commit) else []
    if isinstance(record, Commit):
        payload = record.delta
    return named + ([payload.blob] if payload is not None and payload.blob is not None else [])


def payload_bytes(record: Record) -> int:
    """Of a record, how much are tensors that travel inside it."""
    payload = record.payload if isinstance(record, Update) else None
    if isinstance(record, Commit):
        payload = record.delta
    return len(payload.inline or b"") if payload is not None else 0


def _dictionary(held: list[tuple[RecordId, bytes, bytes]]) -> bytes:
    """What deflate may point into: the most useful last, where pointing is cheapest."""
    parts = [_STATIC]
    for record_id, author, body in reversed(held):
        parts += [_cut_text(body), author, record_id]
    return b"".join(parts)[-32 * 1024 :]


def _cut_text(body: bytes) -> bytes:
    """A body as text to point into: of a long one (a large payload) the two ends."""
    return body if len(body) <= 6 * 1024 else body[: 3 * 1024] + body[-3 * 1024 :]


def _deflate(data: bytes, dictionary: bytes) -> bytes:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, dictionary)
    return coder.compress(data) + coder.flush()


def _inflate(data: bytes, dictionary: bytes) -> tuple[bytes, bytes]:
    """The stream and what follows it. Raises RecordError."""
    coder = zlib.decompressobj(-15, dictionary)
    try:
        out = coder.decompress(data, RECORD_BYTES_MAX)
    except zlib.error as error:
        raise RecordError(f"a record in short form is damaged: {error}") from error
    if not coder.eof:
        raise RecordError("a record in short form is cut off or over the limit")
    return out, coder.unused_data


def _cut(body: list[Any]) -> tuple[list[Any], bytes]:
    """A body without its inline payload, and that payload (b"": there is none to cut)."""
    at = _PAYLOAD_AT.get(body[0])
    payload = body[at] if at is not None else None
    if at is None or not payload or not payload[2] or len(payload[2]) != payload[1]:
        return body, b""
    return [*body[:at], [payload[0], payload[1], False, payload[3]], *body[at + 1 :]], payload[2]


def _pasted(body: list[Any], tail: bytes) -> list[Any]:
    at = _PAYLOAD_AT[body[0]]
    payload = body[at]
    if payload[2] is not False or payload[1] != len(tail):
        raise ValueError("the payload has another size")
    return [*body[:at], [payload[0], payload[1], tail, payload[3]], *body[at + 1 :]]


def _cut_columns(columns: list[Any]) -> tuple[list[Any], bytes]:
    plain, tail = _cut([7, *[None] * 10, columns[commit_form.DELTA_AT]])
    return [*columns[: commit_form.DELTA_AT], plain[11], *columns[commit_form.DELTA_AT + 1 :]], tail


def _pasted_columns(columns: list[Any], tail: bytes) -> list[Any]:
    if not tail:
        return columns
    at = commit_form.DELTA_AT
    return [*columns[:at], _pasted([7, *[None] * 10, columns[at]], tail)[11], *columns[at + 1 :]]
