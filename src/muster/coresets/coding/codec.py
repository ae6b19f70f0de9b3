"""A coreset as bytes, and back.

A message is a header (`header.py`) and one arithmetically coded part: labels, weights, levels.  The levels of
photos follow it as a WebP picture.  The samples are sorted by label, then weight.  The receiver has its own
task's space: what does not fit it is refused.  Bytes are the same on every machine.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.binary_coder import BITS_PER_BYTE, Coder, Reader, Writer
from muster.coresets.coding.checks import check_coreset, planes
from muster.coresets.coding.error import CoresetError
from muster.coresets.coding.header import Header, read_header, write_header
from muster.coresets.coding.images import code_images
from muster.coresets.coding.labels import (
    EQUAL,
    TARGET_BITS,
    code_classes,
    code_targets,
    code_weights,
    targets,
    weight_form,
)
from muster.coresets.coding.photos import decode_photos, encode_photos
from muster.coresets.coding.tables import code_table
from muster.coresets.coreset import Coreset, Space
from muster.protocol.varint import VarintError, decode_varint, encode_varint

Levels = NDArray[np.uint8]
Labels = NDArray[np.int64] | NDArray[np.float32]
Weights = NDArray[np.float32]

BYTES_MAX = 1 << 24
PHOTO_QUALITY = 40
_GROUP_BITS = 3  # rows of a table without classes are grouped by the highest bits of their target


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
    _code(writer, header, coreset)
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
    levels, labels, weights = _code(reader, header, None)
    reader.end()
    if header.space == "photo":
        levels = decode_photos(frame, header.count, header.shape)
    space = replace(space, low=header.low, high=header.high)
    return Coreset(space, header.kind, header.bits, levels, labels, weights)


def _split(data: bytes) -> tuple[bytes, bytes]:
    try:
        length, at = decode_varint(data, 0, bytes_max=4)
    except VarintError:
        raise CoresetError("the coreset ends inside its header") from None
    return data[at : at + length], data[at + length :]


def _header(coreset: Coreset) -> Header:
    space, labels, form = coreset.space, coreset.labels, weight_form(coreset.weights)
    low, high = np.broadcast_arrays(np.atleast_1d(space.low), np.atleast_1d(space.high))
    if (low == low[0]).all() and (high == high[0]).all():
        low, high = low[:1], high[:1]
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
        low=low,
        high=high,
    )


def _code(coder: Coder, header: Header, coreset: Coreset | None) -> tuple[Levels, Labels, Weights]:
    """Levels (none of photos), labels and weights; `coreset` None: they are read."""
    count = header.count
    given: tuple[Any, Any, Any] = (None, None, None)
    if coreset is not None:
        given = coreset.levels, coreset.labels, coreset.weights
    labels: Labels
    if header.classes:
        labels = groups = alike = code_classes(coder, count, header.classes, given[1])
    else:
        steps = code_targets(coder, count, *header.targets, given[1])
        labels = targets(steps, *header.targets)
        groups, alike = steps >> TARGET_BITS - _GROUP_BITS, np.arange(count)
    if header.form == EQUAL:
        weights = np.full(count, header.weight, np.float32)
    else:
        weights = code_weights(coder, header.form, alike, given[2])
    return _code_levels(coder, header, groups, given[0]), labels, weights


def _code_levels(coder: Coder, header: Header, groups: NDArray[np.int64], levels: Levels | None) -> Levels:
    count, shape, bits = header.count, header.shape, header.bits
    if header.space == "photo":
        return np.empty((0, *shape), np.uint8)
    if len(shape) == 1:
        return code_table(coder, groups, shape[0], bits, levels)
    across = planes(header.space, shape)
    turned = header.space == "table" and len(shape) == 2
    if levels is not None:
        levels = (levels.swapaxes(1, 2) if turned else levels).reshape(count, *across)
    coded = code_images(coder, count, across, bits, levels)
    return np.ascontiguousarray(coded[:, :, 0].swapaxes(1, 2)) if turned else coded.reshape(count, *shape)
