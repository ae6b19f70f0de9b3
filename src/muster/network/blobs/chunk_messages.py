"""What crosses a link for bulk: a request for a range of a blob, and its answer.

The first request to a neighbour names the blob in full (32 bytes, its size, the nodes it came through),
later ones by 8 bytes: [id, offset, length] in MessagePack, 17 to 20 bytes.  An answer is three bytes
(status, time the answerer waited for the data in 1/100 s) and the data.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum

import msgspec

from muster.protocol.envelope import UNREADABLE
from muster.protocol.ids import BlobId

TOPIC = "chunk"
PREFIX_BYTES = 8
ANSWER_BYTES_MAX = 48 * 1024  # data in one answer
HOPS_MAX = 16
BLOB_BYTES_MAX = 16 * 1024**3

_HEAD = struct.Struct("<BH")
HEAD_BYTES = _HEAD.size  # of an answer, beside the data


class Status(IntEnum):
    WHOLE = 0  # data (or none, when none was asked for) from one who has all of it
    PARTIAL = 1  # data (or none, when none was asked for) from one that it is arriving at
    NOT_YET = 2  # it is arriving here; ask again later
    UNKNOWN = 3  # these 8 bytes say nothing to me: ask in full
    NO = 4  # not here, and not arriving; also what a later version may say besides


class _ShortAsk(msgspec.Struct, frozen=True, array_like=True):
    id: bytes
    offset: int
    length: int


class WrongQuestion(ValueError):
    """A question for a chunk that is none."""


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """`length` 0 asks only who has how much. `relay`: get it for me if you lack it."""

    id: bytes  # 32 bytes, or the first 8
    offset: int
    length: int
    size_bytes: int = 0
    relay: bool = False
    path: tuple[bytes, ...] = ()  # nodes it was asked through, 8 bytes each, nearest first


@dataclass(frozen=True)
class ChunkAnswer:
    status: Status
    held_s: float
    data: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Ask)


def prefix(identifier: bytes) -> bytes:
    return identifier[:PREFIX_BYTES]


def encode_short_ask(blob: BlobId, offset: int, length: int) -> bytes:
    return _encoder.encode(_ShortAsk(prefix(blob), offset, length))


def encode_ask(ask: Ask) -> bytes:
    return _encoder.encode(ask)


def decode_ask(payload: bytes) -> Ask:
    """Raises WrongQuestion with one sentence when it is malformed or over a limit."""
    try:
        ask = _decoder.decode(payload)
    except UNREADABLE as error:
        raise WrongQuestion(f"not a question for a chunk: {error}") from error
    if len(ask.id) not in (32, PREFIX_BYTES) or any(len(node) != PREFIX_BYTES for node in ask.path):
        raise WrongQuestion("not a question for a chunk: an id has the wrong length")
    if len(ask.path) > HOPS_MAX or not 0 <= ask.size_bytes <= BLOB_BYTES_MAX:
        raise WrongQuestion("not a question for a chunk: over a limit")
    if not (0 <= ask.offset <= BLOB_BYTES_MAX and 0 <= ask.length <= BLOB_BYTES_MAX):
        raise WrongQuestion("not a question for a chunk: a range outside any blob")
    return ask


def encode_answer(status: Status, data: bytes = b"", held_s: float = 0.0) -> bytes:
    assert len(data) <= ANSWER_BYTES_MAX
    return _HEAD.pack(status, min(65535, round(held_s * 100))) + data


def decode_answer(payload: bytes) -> ChunkAnswer:
    """Raises ValueError when it is malformed."""
    if len(payload) < _HEAD.size:
        raise ValueError("not an answer for a chunk: too short")
    status, held = _HEAD.unpack_from(payload)
    known = Status(status) if status <= max(Status) else Status.NO
    return ChunkAnswer(known, held / 100, payload[_HEAD.size :])


class KnownBlobs:
    """Blobs that were named in full lately: requests and nudges name them by 8 bytes."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._known: OrderedDict[bytes, tuple[BlobId, int]] = OrderedDict()

    def remember(self, blob: BlobId, size_bytes: int) -> None:
        key = prefix(blob)
        self._known[key] = (blob, size_bytes)
        self._known.move_to_end(key)
        while len(self._known) > self._count_max:
            self._known.popitem(last=False)

    def find(self, name: bytes) -> tuple[BlobId, int] | None:
        """The whole id and the size; `name` is the id's first 8 bytes."""
        return self._known.get(name)
