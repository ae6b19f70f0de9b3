"""What crosses a Zenoh session: messages of Muster's nodes and their answers.

A message is ``<sender's tag><topic length><topic><payload>``: Zenoh's samples carry no sender.  An answer
is ``<0><payload>`` or ``<1><reason>``.  Short, because bytes matter at 9.6 kbit/s.
"""

from __future__ import annotations

ANSWER_BYTES_MAX = 64 * 1024
NUDGE_BYTES_MAX = 6 * 1024  # over one batch (2 KiB) it goes in pieces, and is lost when one is
REFUSAL_BYTES_MAX = 1024
TOPIC_CHARS_MAX = 32
TAG_CHARS = 8  # of a session's id: names the session that a message comes from

BUSY = b"\x01this node is busy: ask again"


def check_topic(topic: str) -> str:
    """`topic` itself, if it can be sent."""
    assert topic.isascii(), topic
    assert 0 < len(topic) <= TOPIC_CHARS_MAX, topic
    return topic


def encode_message(tag: str, topic: str, payload: bytes) -> bytes:
    return tag.encode() + bytes((len(check_topic(topic)),)) + topic.encode() + payload


def decode_message(message: bytes) -> tuple[str, str, bytes] | None:
    """(sender's tag, topic, payload), or None for what no node of this format sends."""
    if len(message) < TAG_CHARS + 1 or not message[:TAG_CHARS].isascii():
        return None
    begin, length = TAG_CHARS + 1, message[TAG_CHARS]
    topic = message[begin : begin + length]
    if length > TOPIC_CHARS_MAX or len(topic) != length or not topic.isascii():
        return None
    return message[:TAG_CHARS].decode(), topic.decode(), message[begin + length :]


def encode_payload_answer(payload: bytes) -> bytes:
    return (
        b"\x00" + payload
        if len(payload) <= ANSWER_BYTES_MAX
        else encode_refusal("the answer would be too long")
    )


def encode_refusal(reason: str) -> bytes:
    return b"\x01" + reason.encode()[:REFUSAL_BYTES_MAX]
