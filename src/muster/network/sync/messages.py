"""What neighbours announce, ask and answer about records and heartbeats, as bytes.

Topics: nudge "n" (Announce), ask "c" (Since -> Changes), ask "r" (list of prefixes -> list of compressed
records), ask "R" (the same, in full).  An announcement is checked by a CRC that is seeded with the sender's
incarnation, which therefore need not travel: to a receiver that knows another one it looks damaged, and the
receiver asks for the changes, which name the incarnation.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from muster.protocol.envelope import UNREADABLE

WIRE = 2  # of all messages here; a neighbour that speaks another one is named, never misread
CHANGES_MAX = 1000  # entries in a list of changes, records wanted from a neighbour, records queued for one
RECORDS_MAX = 64  # in one announcement, in one request
PREFIX_BYTES = 8
CRC_BYTES = 4
NUMBER_END = 1 << 53  # of a store's numbers, its incarnation and the count of its announcements


class WrongWire(ValueError):
    """A message of another version; the text is one sentence for people."""


class Announce(msgspec.Struct, array_like=True):
    """What is new here. Numbers are the sender's own."""

    count: int  # announcements with records so far, this one included: one that was lost shows
    last: int  # every record up to here was announced by now, or is deferred
    ids: list[tuple[int, bytes]]  # (number, prefix) of records to pull
    inline: list[bytes]  # compressed records
    heartbeats: bytes  # `heartbeat.pack_heartbeats`

    @property
    def has_records(self) -> bool:
        return bool(self.ids or self.inline)


class Since(msgspec.Struct, array_like=True):
    wire: int
    incarnation: int  # of the answering store, as the asker knows it; 0 = unknown
    cursor: int
    digest: bytes  # of all that the asker has
    full_resync: bool  # the asker begins from nothing: it wants even what was learnt from itself before


class Changes(msgspec.Struct, array_like=True):
    wire: int
    incarnation: int
    last: int  # the entries cover everything up to here
    count: int  # ... and all announcements to the asker up to this one
    entries: list[tuple[int, bytes]]
    heartbeats: bytes


_encode = msgspec.msgpack.Encoder().encode
_announce = msgspec.msgpack.Decoder(Announce)
_since = msgspec.msgpack.Decoder(Since)
_changes = msgspec.msgpack.Decoder(Changes)
_any = msgspec.msgpack.Decoder(list[Any])
_list = msgspec.msgpack.Decoder(list[bytes])


def pack_announce(message: Announce, incarnation: int) -> bytes:
    body = _encode(message)
    return zlib.crc32(body, incarnation & 0xFFFFFFFF).to_bytes(CRC_BYTES, "big") + body


def unpack_announce(data: bytes, incarnation: int) -> Announce | None:
    """None when it is damaged, or by a sender of another incarnation or version."""
    body = data[CRC_BYTES:]
    if zlib.crc32(body, incarnation & 0xFFFFFFFF).to_bytes(CRC_BYTES, "big") != data[:CRC_BYTES]:
        return None  # one flipped bit in `last`, and records would be missed for ever
    try:
        message = _announce.decode(body)
    except UNREADABLE:
        return None
    return message if _within(message.count, message.last) and _entries_fit(message.ids) else None


def pack(message: Since | Changes | list[bytes]) -> bytes:
    return _encode(message)


def unpack_since(data: bytes) -> Since:
    """Raises WrongWire."""
    _check(data)
    try:
        since = _since.decode(data)
    except UNREADABLE as error:
        raise WrongWire(_sentence(None)) from error
    if not _within(since.incarnation, since.cursor):
        raise WrongWire("it asks with a number that is none")
    return since


def unpack_changes(data: bytes) -> Changes:
    """Raises WrongWire."""
    _check(data)
    try:
        changes = _changes.decode(data)
    except UNREADABLE as error:
        raise WrongWire(_sentence(None)) from error
    if not _within(changes.incarnation, changes.last, changes.count) or not _entries_fit(changes.entries):
        raise WrongWire("it answers with numbers or names that are none")
    return changes


def unpack_list(data: bytes) -> list[bytes]:
    """Raises one of UNREADABLE."""
    return _list.decode(data)


def unpack_prefixes(data: bytes) -> list[bytes]:
    """The beginnings of ids that a neighbour asks for, at most `RECORDS_MAX`. Raises WrongWire."""
    try:
        prefixes = _list.decode(data)[:RECORDS_MAX]
    except UNREADABLE as error:
        raise WrongWire(f"its request for records cannot be read: {error}") from error
    if any(len(prefix) != PREFIX_BYTES for prefix in prefixes):
        raise WrongWire("it asks for records by names that are none")
    return prefixes


def _within(*numbers: int) -> bool:
    return all(0 <= number < NUMBER_END for number in numbers)


def _entries_fit(entries: list[tuple[int, bytes]]) -> bool:
    return all(0 <= number < NUMBER_END and len(prefix) == PREFIX_BYTES for number, prefix in entries)


def _check(data: bytes) -> None:
    try:
        version = next(iter(_any.decode(data)), None)
    except UNREADABLE:
        version = None
    if version != WIRE:
        raise WrongWire(_sentence(version if isinstance(version, int) and 0 < version < 256 else 1))


def _sentence(version: int | None) -> str:
    other = "no format that is known here" if version is None else f"format {version}"
    return f"it exchanges records in {other}, this node in format {WIRE}: update muster on the older one"
