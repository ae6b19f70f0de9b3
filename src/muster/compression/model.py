"""A model's update as one message: which tensors go through the codec, and how the rest travels beside it.

Weights (floating tensors, tied ones once: `Layout` lists them so) are one flat float32 vector, layout order,
small tensors included, and go through the codec; buffers and untouched rows do not (`buffers.py`,
`embedding_rows.py`).  The tensors of an update are those of a difference of two models (`change.py`).

A model with nothing but weights costs no extra byte: its message is the codec's own.  Otherwise

    0xE0 | flags, [per big matrix: rows], [per buffer in layout order: its bytes], [the codec's message]

Memory beside what is given and the message, with 4 bytes a weight as one copy of the model (measured,
`bench/learning/codecs.py`): `decode_update` needs the copy that it yields and at most 0.3 more,
`encode_with_feedback` the two that it yields and at most 0.3 more.  `encode_update` needs at
most one, and one more where the weights are not one fp32 tensor: a threshold is one for the whole model, so
they are put together.  Where rows are left out, each needs one more copy of those that are sent.  A model of
many equal tensors has copies that are many times its largest tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from muster.compression import embedding_rows
from muster.compression.buffers import is_weight, put_buffer, take_buffer, weights
from muster.compression.codec import (
    ESCAPE,
    MORE_FAMILIES,
    SIZE_MAX,
    Codec,
    CodecError,
    Message,
    Nearest,
    Vector,
)
from muster.compression.codecs.dense import Dense32
from muster.compression.codecs.families import decode
from muster.compression.codecs.positions import Positions
from muster.compression.feedback import norm
from muster.compression.tensors import Array, Layout

_REST, _ROWS = 1, 2


@dataclass(frozen=True)
class EncodedUpdate:
    """A model's update that was encoded with error feedback."""

    message: bytes
    decoded: dict[str, Array]  # what every receiver rebuilds
    residual: Vector  # of `weights(layout)` elements, for the next update


def encode_update(
    codec: Codec, layout: Layout, arrays: Mapping[str, Array], seed: int | Sequence[int] = 0
) -> bytes:
    """The message for an update (name -> array, tied tensors under their first name). Raises CodecError."""
    message = _encode_exactly(codec, layout, arrays)
    if message is not None:
        return message
    return _encode(codec, layout, flatten(layout, arrays), arrays, seed)


def encode_with_feedback(
    codec: Codec,
    layout: Layout,
    arrays: Mapping[str, Array],
    residual: Vector | None,
    seed: int | Sequence[int] | None,
) -> EncodedUpdate:
    """`encode_update` with error feedback on the weights (see feedback.py). Raises CodecError.

    `seed` None: a codec that rounds at random takes the nearest level instead.  One message errs less so;
    over many, errors at random cancel.
    """
    if residual is None and (message := _encode_exactly(codec, layout, arrays)) is not None:
        return EncodedUpdate(message, decode_update(layout, message), np.zeros(weights(layout), np.float32))
    wanted = _filled(layout, arrays, residual)
    del residual  # it may have been given up by the caller
    message = _encode(codec, layout, wanted, arrays, seed)
    vector, decoded = _decode(layout, message)
    return EncodedUpdate(message, decoded, np.subtract(wanted, vector, out=wanted))


def decode_update(layout: Layout, data: Message) -> dict[str, Array]:
    """The update in `data`, with the dtypes of `layout.changes`. Raises CodecError."""
    return _decode(layout, data)[1]


def flatten(layout: Layout, arrays: Mapping[str, Array]) -> Vector:
    """The weights as one vector; no copy for a single float32 tensor. Raises CodecError."""
    names = [spec.name for spec in layout.tensors if is_weight(spec)]
    if len(names) == 1 and (array := arrays.get(names[0])) is not None and array.dtype == np.float32:
        _check_shapes(layout, arrays)
        return array.reshape(-1)
    return _filled(layout, arrays, None)


def weights_norm(layout: Layout, arrays: Mapping[str, Array]) -> float:
    """The Euclidean norm of the weights, a tensor at a time."""
    parts = (norm(arrays[s.name].reshape(-1)) for s in layout.tensors if is_weight(s))
    return math.sqrt(sum(part * part for part in parts))


def _filled(layout: Layout, arrays: Mapping[str, Array], residual: Vector | None) -> Vector:
    """fl32(fl32(weights) + residual), a new vector filled tensor by tensor."""
    _check_shapes(layout, arrays)
    size = weights(layout)
    if residual is not None and residual.shape != (size,):
        raise CodecError(f"a residual of {residual.size} elements does not fit a model of {size} weights")
    vector = np.empty(size, np.float32) if residual is None else residual.copy()
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite then, the codec names
        for spec, part in embedding_rows.parts(layout, vector):
            flat = arrays[spec.name].reshape(-1)
            if residual is None:
                part[:] = flat
            else:
                part += flat.astype(np.float32, copy=False)
    return vector


def _check_shapes(layout: Layout, arrays: Mapping[str, Array]) -> None:
    for spec in layout.tensors:
        array = arrays.get(spec.name)
        if array is None or array.shape != spec.shape:
            raise CodecError(f"tensor {spec.name!r} is missing from the update or has another shape")


def _encode_exactly(codec: Codec, layout: Layout, arrays: Mapping[str, Array]) -> bytes | None:
    """The message of a large model's fp32 weights that go as they are, without one vector of them all.

    None where they do not, or where something goes beside them.
    """
    if not isinstance(codec, Dense32) or not all(is_weight(spec) for spec in layout.tensors):
        return None
    _check_shapes(layout, arrays)
    parts = [arrays[spec.name] for spec in layout.tensors]
    if any(part.dtype != np.float32 for part in parts):
        return None
    for spec in embedding_rows.matrices(layout):
        if not embedding_rows.not_zero(arrays[spec.name]).all():
            return None
    return codec.encode_parts([part.reshape(-1) for part in parts])


def _encode(
    codec: Codec,
    layout: Layout,
    vector: Vector,
    arrays: Mapping[str, Array],
    seed: int | Sequence[int] | None,
) -> bytes:
    rest = b"".join(put_buffer(spec, arrays[spec.name]) for spec in layout.tensors if not is_weight(spec))
    touched = embedding_rows.touched(layout, vector)
    masks = b"".join(
        embedding_rows.put_rows(touched[s.name], s.shape[0])
        for s in embedding_rows.matrices(layout)
        if touched
    )
    if masks:
        whole, less = (codec.estimate_bytes(n) for n in (vector.size, embedding_rows.size(layout, touched)))
        if less + len(masks) < whole:
            vector = embedding_rows.gather(layout, vector, touched)
        else:
            masks = b""
    flags = (_REST if rest else 0) | (_ROWS if masks else 0)
    message = codec.encode(vector, Nearest() if seed is None else np.random.default_rng(seed))
    del vector  # what was gathered is not needed any more
    return b"".join((bytes((ESCAPE << 5 | flags,)), masks, rest, message)) if flags else message


def _decode(layout: Layout, data: Message) -> tuple[Vector, dict[str, Array]]:
    size = weights(layout)
    if size > SIZE_MAX:
        raise CodecError(f"a model of {size} weights is over the limit of {SIZE_MAX}")
    buffers = [spec for spec in layout.tensors if not is_weight(spec)]
    if not data:
        raise CodecError("the message is empty")
    composed = data[0] >> 5 == ESCAPE and data[0] != MORE_FAMILIES
    flags, offset = (data[0] & 31, 1) if composed else (0, 0)
    if (offset and not 0 < flags <= _REST | _ROWS) or bool(flags & _REST) != bool(buffers):
        raise CodecError("the message does not fit the model: it has other buffers")
    touched: dict[str, Positions] = {}
    if flags & _ROWS:
        for spec in embedding_rows.matrices(layout):
            touched[spec.name], offset = embedding_rows.take_rows(data, offset, spec.shape[0])
    decoded: dict[str, Array] = {}
    for spec in buffers:
        decoded[spec.name], offset = take_buffer(spec, data, offset)
    vector = decode(memoryview(data)[offset:], embedding_rows.size(layout, touched))
    if touched:
        vector = embedding_rows.spread(layout, vector, touched)
    for spec, part in embedding_rows.parts(layout, vector):
        decoded[spec.name] = part.reshape(spec.shape).astype(spec.change_dtype, copy=False)
    return vector, {spec.name: decoded[spec.name] for spec in layout.tensors}
