"""One codec on one update: bytes, error, seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import msgspec
import numpy as np

from muster.compression.families import parse
from muster.compression.model import decode_update, encode_update, flatten
from muster.compression.tensors import Array, Layout

NAMES = (
    "dense32", "dense16", "quant8", "quant4", "topk16:0.01", "topk:0.01", "stc:0.05", "stc:0.02", "stc:0.01",
    "stc:0.0025",
)  # fmt: skip


class Measured(msgspec.Struct, frozen=True):
    codec: str
    message_bytes: int
    times_fewer: float  # than the tensors themselves
    relative_error: float  # |update - decoded| / |update|, over the weights
    encode_s: float  # the best of `repeat`
    decode_s: float


def measure(name: str, layout: Layout, update: Mapping[str, Array], repeat: int) -> Measured:
    """`name` on `update`. Raises CodecError for tensors that no codec takes."""
    codec = parse(name)
    encode_s = decode_s = math.inf
    message, decoded = b"", dict(update)
    for _ in range(repeat):
        start = time.perf_counter()
        message = encode_update(codec, layout, update)
        encoded = time.perf_counter()
        decoded = decode_update(layout, message)
        decode_s = min(decode_s, time.perf_counter() - encoded)
        encode_s = min(encode_s, encoded - start)
    wanted = flatten(layout, update).astype(np.float64)
    norm = float(np.linalg.norm(wanted))
    left = float(np.linalg.norm(wanted - flatten(layout, decoded)))
    error = left / norm if norm else 0.0
    return Measured(name, len(message), layout.size_bytes / len(message), error, encode_s, decode_s)
