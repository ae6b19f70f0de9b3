"""A record's inline payload, cut out of its body before compression: it has no redundancy left.

A body is the list that MessagePack gives: the tag, then the record's fields in their order.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from muster.protocol.records import Commit, Record, Update

Body: TypeAlias = list[Any]


def tag_of(kind: type[Record]) -> int:
    """The first element of a record's body."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, int)
    return tag


def place_of(kind: type[Record], field: str) -> int:
    """Where a field stands in a record's body."""
    return 1 + kind.__struct_fields__.index(field)


_PAYLOAD_AT = {tag_of(Update): place_of(Update, "payload"), tag_of(Commit): place_of(Commit, "delta")}


def cut(body: Body) -> tuple[Body, bytes]:
    """A body without its inline payload, and that payload; b"": there is none to cut."""
    at = _PAYLOAD_AT.get(body[0])
    if at is None or at >= len(body):
        return body, b""
    payload, inline = _cut_payload(body[at])
    return ([*body[:at], payload, *body[at + 1 :]], inline) if inline else (body, b"")


def paste(body: Body, inline: bytes) -> Body:
    """The body that `cut` had. Raises ValueError, TypeError or LookupError where the payload does not fit."""
    at = _PAYLOAD_AT[body[0]]
    return [*body[:at], _paste_payload(body[at], inline), *body[at + 1 :]]


def _cut_payload(payload: Any) -> tuple[Any, bytes]:
    """The fields of a `Payload` with False for its inline bytes, and those bytes."""
    if not payload or len(payload) < 3 or not payload[2] or len(payload[2]) != payload[1]:
        return payload, b""
    return [*payload[:2], False, *payload[3:]], payload[2]


def _paste_payload(payload: Any, inline: bytes) -> Any:
    if payload[2] is not False or payload[1] != len(inline):
        raise ValueError("the payload has another size")
    return [*payload[:2], inline, *payload[3:]]
