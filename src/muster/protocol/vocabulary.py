"""What a version can say: its kinds of records, as canonical bytes.

Of a record with more fields than this version knows the known ones are read; its bytes stay as they came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec

from muster.protocol.ids import JobId
from muster.protocol.records import Record
from muster.protocol.trimming import NotCanonical, check_known, check_plain, shape_of
from muster.protocol.validation.limits import ID_BYTES
from muster.protocol.validation.validate import validate
from muster.protocol.versions import VERSION, Received, Unknown, needs

# What msgspec raises for bytes that are no message; it has no errors of its own for text that is not UTF-8,
# and for lists in lists without end.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class RecordError(ValueError):
    """Bytes that are not a record of this format; the message is one sentence for people."""


class Vocabulary:
    """Writes and reads the records of one version."""

    def __init__(self, version: int, kinds: Any, needs: Callable[[Any], int]) -> None:
        """`kinds`: the union of all record types."""
        self.version, self.needs = version, needs
        self._decoder = msgspec.msgpack.Decoder(kinds)
        self._shapes = {kind: shape_of(kind) for kind in get_args(kinds)}
        self._tags = {kind.__struct_config__.tag for kind in get_args(kinds)}

    def encode(self, record: Record) -> bytes:
        """The canonical bytes of a record."""
        return _encode(self._shapes[type(record)].trim(record))

    def decode(self, body: bytes) -> Record:
        """The record in `body`, of a kind that is known. Raises RecordError with one sentence."""
        try:
            record: Record = self._decoder.decode(body)
        except UNREADABLE as error:
            raise RecordError(f"these bytes are not a record of this version: {error}") from error
        if self.encode(record) != body:
            try:
                check_known(record, _plain(body))
            except NotCanonical as error:
                raise RecordError(f"the record is not in canonical form: {error}") from error
        return record

    def read(self, body: bytes, needed: int) -> Received:
        """The record in `body`, which needs a version to be acted on. Raises RecordError."""
        refused: RecordError | None = None
        if needed <= self.version:
            try:
                record = self.decode(body)
            except RecordError as error:
                refused = error
            else:
                if needed < self.needs(record):
                    raise RecordError(f"a {record.KIND} record says that it needs too old a version")
                return record
        try:
            raw = _plain(body)
        except NotCanonical as error:
            raise RecordError(f"a record of a later version is not in canonical form: {error}") from error
        if not raw or type(raw[0]) is not int or raw[0] < 0:
            raise RecordError("these bytes name no kind of record")
        if refused is not None and raw[0] in self._tags:
            raise refused
        return Unknown(raw[0], needed, _job(raw))

    def fault(self, record: Record) -> str | None:
        """One sentence about what is wrong with a record, by its own fields alone; None: nothing."""
        return validate(record)


def _plain(body: bytes) -> list[Any]:
    """The list that a body is. Raises NotCanonical."""
    try:
        raw = _decode(body)
    except UNREADABLE as error:
        raise NotCanonical(str(error)) from error
    check_plain(raw)
    if not isinstance(raw, list) or _encode(raw) != body:
        raise NotCanonical("it is not written as short as MessagePack can be")
    return raw


def _job(raw: list[Any]) -> JobId:
    first = raw[1] if len(raw) > 1 else None
    return first if isinstance(first, bytes) and len(first) == ID_BYTES else b""


CURRENT = Vocabulary(VERSION, Record, needs)
