"""A model's update as one message: which tensors go through the codec, and how the rest travels beside it.

Weights (floating tensors, tied ones once: `Layout` lists them so) are one flat float32 vector, layout order,
small tensors included, and go through the codec.  Batch-norm statistics go as fp16 with a scale each, integer
buffers in the smallest width that holds them; neither takes part in error feedback.  Rows of a big matrix (an
embedding) that did not change are left out when that pays.

A model with nothing but weights costs no extra byte: its message is the codec's own.  Otherwise

    0xE0 | flags, [per big matrix: rows], [per buffer in layout order: its bytes], the codec's message

Integer buffers of an update are differences that wrap around, flags (bool) exclusive ors.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from muster.compression import positions as pos
from muster.compression.codec import ESCAPE, SIZE_MAX, TINY, Codec, CodecError, Vector, put_count, take_count
from muster.compression.families import decode
from muster.compression.feedback import add_weighted
from muster.compression.scale import from_half, half_exponent, to_half
from muster.compression.tensors import Array, Layout, TensorSpec

STATISTICS = ("running_mean", "running_var")  # last part of a batch-norm buffer's name
ROWS_MIN = 64  # matrices with fewer rows are never thinned
_REST, _ROWS = 1, 2
_WIDTHS = (0, 1, 2, 4, 8)  # bytes an integer; 0: all are zero


@dataclass(frozen=True)
class Sent:
    """A model's update that was encoded with error feedback."""

    message: bytes
    decoded: dict[str, Array]  # what every receiver rebuilds
    residual: Vector  # of `weights(layout)` elements, for the next update


def is_weight(spec: TensorSpec) -> bool:
    return spec.floating and spec.name.rpartition(".")[2] not in STATISTICS


def weights(layout: Layout) -> int:
    """Length of the flat vector."""
    return sum(spec.size for spec in layout.tensors if is_weight(spec))


def beside_bytes(layout: Layout) -> int:
    """Forecast of what a message has beside its weights; integers are taken to change by less than 128."""
    buffers = [spec for spec in layout.tensors if not is_weight(spec)]
    return sum(1 + spec.size * (2 if spec.floating else 1) for spec in buffers) + (1 if buffers else 0)


def spares_rows(layout: Layout) -> bool:
    """Whether the model has matrices of which untouched rows are left out."""
    return bool(_matrices(layout))


def difference(layout: Layout, base: Mapping[str, Array], new: Mapping[str, Array]) -> dict[str, Array]:
    """The update that leads from `base` to `new`."""
    update: dict[str, Array] = {}
    for spec in layout.tensors:
        if spec.floating:
            wide = np.result_type(spec.dtype, np.float32)
            update[spec.name] = new[spec.name].astype(wide) - base[spec.name].astype(wide)
        elif spec.dtype == "bool":
            update[spec.name] = new[spec.name] ^ base[spec.name]
        else:
            update[spec.name] = new[spec.name] - base[spec.name]
    return update


def add(layout: Layout, base: Mapping[str, Array], update: Mapping[str, Array]) -> dict[str, Array]:
    """`base` plus `update`, one rounding an element: the same bits on every node. Raises CodecError."""
    result: dict[str, Array] = {}
    for spec in layout.tensors:
        old, change = base[spec.name], update[spec.name]
        if spec.floating:
            wide = np.result_type(spec.dtype, np.float32)
            with np.errstate(over="ignore"):
                new = (old.astype(wide, copy=False) + change.astype(wide, copy=False)).astype(spec.dtype)
            if not np.isfinite(new).all():
                raise CodecError(f"the update makes tensor {spec.name!r} infinite")
            result[spec.name] = new
        else:
            result[spec.name] = old ^ change if spec.dtype == "bool" else old + change
    return result


def encode_update(
    codec: Codec, layout: Layout, arrays: Mapping[str, Array], seed: int | Sequence[int] = 0
) -> bytes:
    """The message for an update (name -> array, tied tensors under their first name). Raises CodecError."""
    return _encode(codec, layout, flatten(layout, arrays), arrays, seed)


def send(
    codec: Codec,
    layout: Layout,
    arrays: Mapping[str, Array],
    residual: Vector | None,
    seed: int | Sequence[int],
) -> Sent:
    """`encode_update` with error feedback on the weights (see feedback.py). Raises CodecError."""
    wanted = flatten(layout, arrays)
    if residual is not None:
        wanted = add_weighted(wanted, residual, 1.0)
    message = _encode(codec, layout, wanted, arrays, seed)
    vector, decoded = _decode(layout, message)
    return Sent(message, decoded, wanted - vector)


def decode_update(layout: Layout, data: bytes) -> dict[str, Array]:
    """The update in `data`: float32 or the layout's wider type for floats. Raises CodecError."""
    return _decode(layout, data)[1]


def flatten(layout: Layout, arrays: Mapping[str, Array]) -> Vector:
    """The weights as one vector; no copy for a single float32 tensor. Raises CodecError."""
    specs = [spec for spec in layout.tensors if is_weight(spec)]
    for spec in layout.tensors:
        array = arrays.get(spec.name)
        if array is None or array.shape != spec.shape:
            raise CodecError(f"tensor {spec.name!r} is missing from the update or has another shape")
    if len(specs) == 1 and arrays[specs[0].name].dtype == np.float32:
        return arrays[specs[0].name].reshape(-1)
    vector = np.empty(sum(spec.size for spec in specs), np.float32)
    offset = 0
    for spec in specs:
        with np.errstate(over="ignore"):
            vector[offset : offset + spec.size] = arrays[spec.name].reshape(-1)
        offset += spec.size
    return vector


def _encode(
    codec: Codec, layout: Layout, vector: Vector, arrays: Mapping[str, Array], seed: int | Sequence[int]
) -> bytes:
    rng = np.random.default_rng(seed)
    rest = b"".join(_put_buffer(spec, arrays[spec.name]) for spec in layout.tensors if not is_weight(spec))
    rows = _touched_rows(layout, vector)
    kept = vector
    masks = b""
    if rows:
        masks = b"".join(_put_rows(where, spec.shape[0]) for spec, where in rows)
        chosen = _select(layout, {spec.name: where for spec, where in rows})
        size = int(chosen.sum())
        if codec.estimate_bytes(size) + len(masks) < codec.estimate_bytes(vector.size):
            kept = vector[chosen]
        else:
            masks = b""
    flags = (_REST if rest else 0) | (_ROWS if masks else 0)
    message = codec.encode(kept, rng)
    return b"".join((bytes((ESCAPE << 5 | flags,)), masks, rest, message)) if flags else message


def _decode(layout: Layout, data: bytes) -> tuple[Vector, dict[str, Array]]:
    size = weights(layout)
    if size > SIZE_MAX:
        raise CodecError(f"a model of {size} weights is over the limit of {SIZE_MAX}")
    buffers = [spec for spec in layout.tensors if not is_weight(spec)]
    if not data:
        raise CodecError("the message is empty")
    flags, offset = (data[0] & 31, 1) if data[0] >> 5 == ESCAPE else (0, 0)
    if (offset and not 0 < flags <= _REST | _ROWS) or bool(flags & _REST) != bool(buffers):
        raise CodecError("the message does not fit the model: it has other buffers")
    chosen: NDArray[np.bool_] | None = None
    if flags & _ROWS:
        rows: dict[str, pos.Positions] = {}
        for spec in _matrices(layout):
            rows[spec.name], offset = _take_rows(data, offset, spec.shape[0])
        chosen = _select(layout, rows)
    decoded: dict[str, Array] = {}
    for spec in buffers:
        decoded[spec.name], offset = _take_buffer(spec, data, offset)
    body = data[offset:] if offset else data
    if chosen is None:
        vector = decode(body, size)
    else:
        vector = np.zeros(size, np.float32)
        vector[chosen] = decode(body, int(chosen.sum()))
    at = 0
    for spec in layout.tensors:
        if is_weight(spec):
            wide = np.result_type(spec.dtype, np.float32)
            decoded[spec.name] = vector[at : at + spec.size].reshape(spec.shape).astype(wide, copy=False)
            at += spec.size
    return vector, {spec.name: decoded[spec.name] for spec in layout.tensors}


def _matrices(layout: Layout) -> list[TensorSpec]:
    """The tensors whose untouched rows may be left out."""
    return [s for s in layout.tensors if is_weight(s) and len(s.shape) == 2 and s.shape[0] >= ROWS_MIN]


def _touched_rows(layout: Layout, vector: Vector) -> list[tuple[TensorSpec, pos.Positions]]:
    """Of every big matrix the rows that are not all zero; nothing when no row of any is zero."""
    found: list[tuple[TensorSpec, pos.Positions]] = []
    spared, at = False, 0
    names = {spec.name for spec in _matrices(layout)}
    for spec in layout.tensors:
        if not is_weight(spec):
            continue
        if spec.name in names:
            touched = vector[at : at + spec.size].reshape(spec.shape).any(axis=1)
            spared = spared or not touched.all()
            found.append((spec, np.flatnonzero(touched).astype(np.int32)))
        at += spec.size
    return found if spared else []


def _select(layout: Layout, rows: Mapping[str, pos.Positions]) -> NDArray[np.bool_]:
    """Which elements of the flat vector are sent."""
    chosen = np.ones(weights(layout), bool)
    at = 0
    for spec in layout.tensors:
        if not is_weight(spec):
            continue
        if spec.name in rows:
            block = chosen[at : at + spec.size].reshape(spec.shape)
            block[:] = False
            block[rows[spec.name]] = True
        at += spec.size
    return chosen


def _put_rows(where: pos.Positions, count: int) -> bytes:
    """Number of rows, position coding, length, bits."""
    how = pos.choose(where, count)
    body = np.packbits(np.concatenate(pos.to_bits(where, count, how))).tobytes()
    return put_count(where.size) + bytes((how,)) + put_count(len(body)) + body


def _take_rows(data: bytes, offset: int, count: int) -> tuple[pos.Positions, int]:
    marked, offset = take_count(data, offset)
    if marked > count or offset >= len(data) or data[offset] > pos.BITMAP:
        raise CodecError("the message's rows do not fit the model")
    how = data[offset]
    length, offset = take_count(data, offset + 1)
    split = pos.fixed_bits(marked, how)
    if offset + length > len(data) or split > 8 * length or 8 * length > split + marked + count + 8:
        raise CodecError("the message's rows do not fit the model")
    bits = np.unpackbits(np.frombuffer(data, np.uint8, length, offset))
    where, used = pos.from_bits(bits[:split], bits[split:], marked, count, how)
    if bits.size - split - used > 7 or bits[split + used :].any():
        raise CodecError("the message's rows do not fit the model")
    return where, offset + length


def _put_buffer(spec: TensorSpec, array: Array) -> bytes:
    flat = np.ascontiguousarray(array).reshape(-1)
    if spec.floating:
        if not np.isfinite(flat).all():
            raise CodecError(f"tensor {spec.name!r} holds NaN or infinite values")
        values = flat.astype(np.float32)
        largest = float(np.abs(values).max(initial=0.0))
        if largest < TINY:
            return struct.pack("b", 0) + bytes(2 * flat.size)
        exponent = half_exponent(largest)
        return struct.pack("b", exponent) + to_half(values, exponent).tobytes()
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    width = next(w for w in _WIDTHS if -(1 << 8 * w) <= 2 * low and 2 * high < 1 << 8 * w)
    return bytes((width,)) + (flat.astype(f"<i{width}").tobytes() if width else b"")


def _take_buffer(spec: TensorSpec, data: bytes, offset: int) -> tuple[Array, int]:
    if offset >= len(data):
        raise CodecError(f"the message ends before tensor {spec.name!r}")
    width = 2 if spec.floating else data[offset]
    end = offset + 1 + width * spec.size
    if width not in _WIDTHS or end > len(data):
        raise CodecError(f"the message ends inside tensor {spec.name!r}")
    raw = data[offset + 1 : end]
    if spec.floating:
        values: Array = from_half(np.frombuffer(raw, "<u2"), struct.unpack_from("b", data, offset)[0])
        return values.astype(np.result_type(spec.dtype, np.float32), copy=False).reshape(spec.shape), end
    if not width:
        return np.zeros(spec.shape, spec.dtype), end
    wide = np.frombuffer(raw, f"<i{width}").astype(np.int64)
    values = wide.astype(spec.dtype)
    if (values.astype(np.int64) != wide).any():
        raise CodecError(f"the message holds integers that tensor {spec.name!r} cannot")
    return values.reshape(spec.shape), end
