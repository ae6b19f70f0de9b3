"""The checks of single fields. Each raises `Invalid` with one sentence, or returns nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from muster.protocol.parts import Payload
from muster.protocol.records import INLINE_BYTES_MAX
from muster.protocol.validation.limits import (
    BLOB_BYTES_MAX,
    CODEC_CHARS_MAX,
    ID_BYTES,
    NODES_MAX,
    TEXT_CHARS_MAX,
    is_clean,
)

DENSITY_MIN, DENSITY_MAX = 1e-6, 0.2  # of a sparse codec; compression takes no more than that either
_PLAIN_CODECS = {"dense32", "dense16", "quant8", "quant4"}
_SPARSE_CODEC = re.compile(r"(?:topk|topk16|stc):([0-9]{0,20}\.?[0-9]{1,20}(?:e-?[0-9]{1,3})?)")
_CODEC_SHAPE = re.compile(r"[a-z][a-z0-9]*(:[0-9.e-]+)?")


class Invalid(Exception):
    """A field is beyond its limits; the text is one sentence."""


def whole(what: str, value: int, low: int, high: int) -> None:
    """A whole number from `low` to `high`."""
    if not low <= value <= high:
        raise Invalid(f"{what}: {value} is not within {low} to {high}")


def number(what: str, value: float, low: float, high: float) -> None:
    """A finite number from `low` to `high`."""
    if not low <= value <= high:  # false for what is no number, too
        raise Invalid(f"{what}: {value} is not within {low:g} to {high:g}")


def above(what: str, value: float, low: float, high: float) -> None:
    """A finite number above `low` and at most `high`."""
    if not low < value <= high:
        raise Invalid(f"{what}: {value} is not above {low:g} and at most {high:g}")


def identifier(what: str, value: bytes) -> None:
    """An id of 32 bytes."""
    if len(value) != ID_BYTES:
        raise Invalid(f"{what}: an id has {ID_BYTES} bytes, not {len(value)}")


def length(what: str, value: Sequence[Any] | bytes, low: int, high: int) -> None:
    """A list, or bytes, of so many elements."""
    if not low <= len(value) <= high:
        raise Invalid(f"{what}: {len(value)} elements are not within {low} to {high}")


def ascending(what: str, keys: Sequence[Any]) -> None:
    """Sorted, and nothing twice."""
    length(what, keys, 0, NODES_MAX)
    if any(not a < b for a, b in pairwise(keys)):
        raise Invalid(f"{what}: not sorted, or something stands there twice")


def text(what: str, value: str, chars_max: int = TEXT_CHARS_MAX) -> None:
    """A text for people: not too long, and nothing in it that steers a terminal."""
    if len(value) > chars_max or not is_clean(value):
        raise Invalid(f"{what}: a text of {len(value)} characters is too long, or has control characters")


def codec(what: str, value: str) -> None:
    """A codec that this version can encode with."""
    if value in _PLAIN_CODECS:
        return
    sparse = _SPARSE_CODEC.fullmatch(value) if len(value) <= CODEC_CHARS_MAX else None
    if sparse is None or not DENSITY_MIN <= float(sparse[1]) <= DENSITY_MAX:
        raise Invalid(f"{what}: there is no codec {value[:CODEC_CHARS_MAX]!r}")


def codec_name(what: str, value: str) -> None:
    """What may be a codec's name, perhaps of a later version: who decodes the message judges it."""
    if len(value) > CODEC_CHARS_MAX or _CODEC_SHAPE.fullmatch(value) is None:
        raise Invalid(f"{what}: {value[:CODEC_CHARS_MAX]!r} is no name of a codec")


def payload(what: str, value: Payload) -> None:
    """Encoded tensors, inside the record or in a blob."""
    codec_name(what, value.codec)
    if (value.inline is None) == (value.blob is None):
        raise Invalid(f"{what}: encoded tensors are inside the record or in a blob, one of the two")
    if value.blob is not None:
        identifier(what, value.blob)
        whole(f"{what}: its bytes", value.size_bytes, 0, BLOB_BYTES_MAX)
    elif value.inline is not None:
        length(f"{what}: its bytes", value.inline, 0, INLINE_BYTES_MAX)
        if len(value.inline) != value.size_bytes:
            raise Invalid(f"{what}: {len(value.inline)} bytes are there, {value.size_bytes} are announced")


def finite(what: str, value: float, limit: float) -> None:
    """A finite number of at most this magnitude."""
    if not math.isfinite(value) or abs(value) > limit:
        raise Invalid(f"{what}: {value} is not finite, or beyond {limit:g}")
