"""Rows of a big matrix (an embedding) that did not change are left out of a message when that pays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from muster.compression.buffers import is_weight, weights
from muster.compression.codec import CodecError, Message, Vector, take_count
from muster.compression.codecs import positions as pos
from muster.compression.tensors import Layout, TensorSpec
from muster.protocol.varint import encode_varint

ROWS_MIN = 64  # matrices with fewer rows are never thinned
Rows = Mapping[str, pos.Positions]  # tensor name -> the rows that are sent, of every big matrix


def parts(layout: Layout, vector: Vector) -> Iterator[tuple[TensorSpec, Vector]]:
    """Each weight tensor with its part of the flat vector, a view."""
    at = 0
    for spec in layout.tensors:
        if is_weight(spec):
            yield spec, vector[at : at + spec.size]
            at += spec.size


def matrices(layout: Layout) -> list[TensorSpec]:
    """The tensors whose untouched rows may be left out."""
    return [s for s in layout.tensors if is_weight(s) and len(s.shape) == 2 and s.shape[0] >= ROWS_MIN]


def touched(layout: Layout, vector: Vector) -> dict[str, pos.Positions]:
    """Of every big matrix the rows that are not all zero; nothing when no row of any is zero."""
    names = {spec.name for spec in matrices(layout)}
    found: dict[str, pos.Positions] = {}
    some_zero = False
    for spec, part in parts(layout, vector):
        if spec.name in names:
            rows = not_zero(part.reshape(spec.shape))
            some_zero = some_zero or not rows.all()
            found[spec.name] = np.flatnonzero(rows).astype(np.int32)
    return found if some_zero else {}


def not_zero(matrix: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows of a matrix are not all zero; most often the first element of each says so."""
    rows: NDArray[np.bool_] = matrix[:, 0] != 0 if matrix.shape[1] else np.zeros(len(matrix), np.bool_)
    unknown = np.flatnonzero(~rows)
    if 2 * unknown.size > len(matrix):
        return np.asarray(matrix.any(axis=1))
    rows[unknown] = matrix[unknown].any(axis=1)
    return rows


def size(layout: Layout, rows: Rows) -> int:
    """Number of elements that are sent."""
    left_out = sum((s.shape[0] - rows[s.name].size) * s.shape[1] for s in layout.tensors if s.name in rows)
    return weights(layout) - left_out


def gather(layout: Layout, vector: Vector, rows: Rows) -> Vector:
    """The elements of the flat `vector` that are sent."""
    kept = np.empty(size(layout, rows), np.float32)
    at = 0
    for spec, part in parts(layout, vector):
        if spec.name in rows:
            where = rows[spec.name]
            end = at + where.size * spec.shape[1]
            out = kept[at:end].reshape(where.size, spec.shape[1])
            np.take(part.reshape(spec.shape), where, axis=0, out=out, mode="clip")  # "raise" would copy
        else:
            end = at + spec.size
            kept[at:end] = part
        at = end
    return kept


def spread(layout: Layout, kept: Vector, rows: Rows) -> Vector:
    """The inverse of `gather`: the flat vector, zero where nothing was sent."""
    vector = np.zeros(weights(layout), np.float32)
    at = 0
    for spec, part in parts(layout, vector):
        if spec.name in rows:
            where = rows[spec.name]
            end = at + where.size * spec.shape[1]
            part.reshape(spec.shape)[where] = kept[at:end].reshape(where.size, spec.shape[1])
        else:
            end = at + spec.size
            part[:] = kept[at:end]
        at = end
    return vector


def put_rows(where: pos.Positions, count: int) -> bytes:
    """The bytes of a matrix's sent rows: their number, position coding, length, bits."""
    how = pos.choose(where, count)
    low, tail = pos.to_bits(where, count, how)
    body = pos.pack((*low, tail))
    return encode_varint(where.size) + bytes((how,)) + encode_varint(len(body)) + body


def take_rows(data: Message, offset: int, count: int) -> tuple[pos.Positions, int]:
    """(the rows of a matrix with `count` rows, offset behind them). Raises CodecError."""
    marked, offset = take_count(data, offset)
    if marked > count or offset >= len(data) or data[offset] > pos.BITMAP:
        raise CodecError("the message's rows do not fit the model")
    how = data[offset]
    length, offset = take_count(data, offset + 1)
    split = pos.fixed_bits(marked, how)
    if offset + length > len(data) or split > 8 * length or 8 * length > split + marked + count + 8:
        raise CodecError("the message's rows do not fit the model")
    packed = np.frombuffer(data, np.uint8, length, offset)
    tail = pos.unpack(packed, split, 8 * length - split)
    where, used = pos.from_bits(packed, tail, marked, count, how)
    if tail.size - used > 7 or tail[used:].any():
        raise CodecError("the message's rows do not fit the model")
    return where, offset + length
