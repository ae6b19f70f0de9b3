"""The part of a model's change that does not go through a codec, and takes no part in error feedback.

What training does not learn goes exactly, or nearly so: it may be a variance or a unit vector, and no codec
knows that.  Statistics (floating buffers) are their new values in fp16 with a scale for each tensor (relative
error 2**-11); integers and truth values have the smallest width that holds their change.

    statistics: 1 byte (power of two), little-endian fp16; unchanged: 1 byte (0x80)
    integers: 1 byte (width), little-endian
"""

from __future__ import annotations

import struct

import numpy as np

from muster.compression.codec import TINY, CodecError, Message
from muster.compression.codecs.scale import from_half, half_exponent, to_half
from muster.compression.tensors import Array, Layout, TensorSpec, is_unchanged

_UNCHANGED = -128  # no exponent of a scale
_WIDTHS = (0, 1, 2, 4, 8)  # bytes an integer; 0: all are zero


def is_weight(spec: TensorSpec) -> bool:
    """True for what goes through the codec."""
    return spec.floating and spec.learnt


def weights(layout: Layout) -> int:
    """How many elements go through the codec: the length of the flat vector."""
    return sum(spec.size for spec in layout.tensors if is_weight(spec))


def beside_bytes(layout: Layout) -> int:
    """Forecast of what a message has beside its weights; integers are taken to change by less than 128."""
    buffers = [spec for spec in layout.tensors if not is_weight(spec)]
    return sum(1 + spec.size * (2 if spec.floating else 1) for spec in buffers) + (1 if buffers else 0)


def put_buffer(spec: TensorSpec, array: Array) -> bytes:
    """The bytes of `array`, the change of a buffer. Raises CodecError."""
    flat = np.ascontiguousarray(array).reshape(-1)
    if spec.floating:
        if is_unchanged(flat):
            return struct.pack("b", _UNCHANGED)
        with np.errstate(over="ignore"):
            values = flat.astype(np.float32)
        if not np.isfinite(values).all():  # a float64 too large for fp32 is infinite by now
            raise CodecError(f"tensor {spec.name!r} holds values that are not finite or beyond fp32")
        largest = float(np.abs(values).max(initial=0.0))
        if largest < TINY:
            return struct.pack("b", 0) + bytes(2 * flat.size)
        exponent = half_exponent(largest)
        return struct.pack("b", exponent) + to_half(values, exponent).tobytes()
    low, high = (int(flat.min()), int(flat.max())) if flat.size else (0, 0)
    width = next(w for w in _WIDTHS if -(1 << 8 * w) <= 2 * low and 2 * high < 1 << 8 * w)
    return bytes((width,)) + (flat.astype(f"<i{width}").tobytes() if width else b"")


def take_buffer(spec: TensorSpec, data: Message, offset: int) -> tuple[Array, int]:
    """(the change of a buffer, offset behind it). Raises CodecError."""
    if offset >= len(data):
        raise CodecError(f"the message ends before tensor {spec.name!r}")
    if spec.floating and struct.unpack_from("b", data, offset)[0] == _UNCHANGED:
        return np.full(spec.shape, np.nan, spec.change_dtype), offset + 1
    width = 2 if spec.floating else data[offset]
    end = offset + 1 + width * spec.size
    if width not in _WIDTHS or end > len(data):
        raise CodecError(f"the message ends inside tensor {spec.name!r}")
    raw = memoryview(data)[offset + 1 : end]
    if spec.floating:
        values: Array = from_half(np.frombuffer(raw, "<u2"), struct.unpack_from("b", data, offset)[0])
        return values.astype(spec.change_dtype, copy=False).reshape(spec.shape), end
    if not width:
        return np.zeros(spec.shape, spec.change_dtype), end
    sent = np.frombuffer(raw, f"<i{width}")
    values = sent.astype(spec.change_dtype)
    if (values != sent).any():
        raise CodecError(f"the message holds changes that tensor {spec.name!r} cannot undergo")
    return values.reshape(spec.shape), end
