"""One codec on one update: bytes, error, seconds, working memory."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from muster.compression.codecs.families import parse
from muster.compression.model import decode_update, encode_update, encode_with_feedback, flatten
from muster.compression.tensors import Array, Layout


class CodecMeasurement(msgspec.Struct, frozen=True):
    codec: str
    message_bytes: int
    times_fewer: float  # than the tensors themselves
    relative_error: float  # |update - decoded| / |update|, over the weights
    encode_s: float  # the best of `repeat`
    decode_s: float


def measure(name: str, layout: Layout, update: Mapping[str, Array], repeat: int) -> CodecMeasurement:
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
    return CodecMeasurement(name, len(message), layout.size_bytes / len(message), error, encode_s, decode_s)


class Memory(msgspec.Struct, frozen=True):
    """Peaks in bytes beside the arguments and the message. What a call returns counts."""

    encode: int
    decode: int
    with_feedback: int  # with a residual: what a node does with its update, and a coordinator with a commit's


def measure_memory(name: str, layout: Layout, update: Mapping[str, Array]) -> Memory:
    """What `name` needs for `update`, by tracemalloc. Raises CodecError."""
    codec = parse(name)
    residual = np.float32(0.1) * flatten(layout, update)  # zero where nothing changed, as after many rounds

    def peak(work: Callable[[], object], message: int) -> int:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before - message

    message = encode_update(codec, layout, update)
    sent = len(encode_with_feedback(codec, layout, update, residual, 0).message)
    tracemalloc.start()
    try:
        return Memory(
            peak(lambda: encode_update(codec, layout, update), len(message)),
            peak(lambda: decode_update(layout, message), 0),
            peak(lambda: encode_with_feedback(codec, layout, update, residual, 0), sent),
        )
    finally:
        tracemalloc.stop()
