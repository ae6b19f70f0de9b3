"""A coreset as bytes, and back.

A message is a header (`header.py`) and one arithmetically coded part (`body.py`).  Photos follow as a WebP
picture.  The samples are sorted by label, then weight.  The receiver has its own task's space: what does not
fit it is refused.  Bytes are the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from muster.coresets.coding.binary_coder import BITS_PER_BYTE, Reader, Writer
from muster.coresets.coding.body import code_body
from muster.coresets.coding.checks import check_coreset
from muster.coresets.coding.error import CoresetError
from muster.coresets.coding.header import COLUMNS, PAIR, UNIT, Header, read_header, write_header
from muster.coresets.coding.labels import weight_form
from muster.coresets.coding.photos import decode_photos, encode_photos
from muster.coresets.coreset import Coreset, Space
from muster.protocol.varint import VarintError, decode_varint, encode_varint

BYTES_MAX = 1 << 24
PHOTO_QUALITY = 40


def encode(coreset: Coreset, *, photo_quality: int = PHOTO_QUALITY) -> bytes:
    """`photo_quality` is WebP's, 0 to 100. Raises CoresetError if something is out of range, or too much."""
    check_coreset(coreset)
    order = np.lexsort((coreset.weights, coreset.labels))
    coreset = replace(
        coreset,
        levels=coreset.levels[order],
        labels=coreset.labels[order],
        weights=coreset.weights[order].astype(np.float32),
    )
    header, writer = _header(coreset), Writer()
    code_body(writer, header, coreset.space, coreset)
    message = writer.message()
    if header.space != "photo":
        return write_header(header) + message
    frame = encode_photos(coreset.levels, photo_quality)
    return write_header(header) + encode_varint(len(message)) + message + frame


def decode(data: bytes, space: Space, *, samples_max: int, bytes_max: int = BYTES_MAX) -> Coreset:
    """The samples in the order of their labels.

    Raises CoresetError unless `data` is a whole coreset of `space`, of at most `samples_max` samples.
    """
    if len(data) > bytes_max:
        raise CoresetError(f"the coreset has {len(data)} bytes; at most {bytes_max} are allowed")
    header, at = read_header(data, space, samples_max)
    rest, frame = data[at:], b""
    if header.space == "photo":
        rest, frame = _split(rest)
    elif header.count * math.prod(header.shape) * header.bits > len(rest) * BITS_PER_BYTE:
        raise CoresetError("the coreset says that it has more values than its bytes can hold")
    reader = Reader(rest)
    coreset = code_body(reader, header, space, None)
    reader.end()
    if header.space == "photo":
        coreset = replace(coreset, levels=decode_photos(frame, header.count, header.shape))
    return coreset


def _split(data: bytes) -> tuple[bytes, bytes]:
    try:
        length, at = decode_varint(data, 0, bytes_max=4)
    except VarintError:
        raise CoresetError("the coreset ends inside its header") from None
    return data[at : at + length], data[at + length :]


def _header(coreset: Coreset) -> Header:
    space, labels, form = coreset.space, coreset.labels, weight_form(coreset.weights)
    return Header(
        space=space.kind,
        kind=coreset.kind,
        bits=coreset.bits,
        count=len(coreset),
        classes=space.classes,
        shape=space.shape,
        form=form,
        weight=float(coreset.weights[0]),
        targets=(0.0, 0.0) if space.classes else (float(labels[0]), float(labels[-1])),
        bounds=_bounds_form(space),
    )


def _bounds_form(space: Space) -> int:
    if np.ptp(space.low) or np.ptp(space.high):
        return COLUMNS
    return UNIT if np.min(space.low) == 0 and np.max(space.high) == 1 else PAIR
