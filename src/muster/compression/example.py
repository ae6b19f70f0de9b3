"""Made-up updates to try codecs on: heavy-tailed, each tensor in its own scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from muster.compression.tensors import Array, Layout, TensorError, TensorSpec
from muster.errors import MusterError

# The task mnist's cnn29k (learning.mnist), so that torch need not be loaded to look at codecs.
_CNN29K = (
    ("0.weight", (16, 1, 5, 5)), ("0.bias", (16,)), ("3.weight", (32, 16, 5, 5)), ("3.bias", (32,)),
    ("7.weight", (10, 1568)), ("7.bias", (10,)),
)  # fmt: skip
_STEP = 0.01  # an update's size beside its tensor's
# A safetensors file's types as numpy's. bfloat16, which numpy has not, is float32 here, as tasks train it.
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def of_mnist() -> tuple[Layout, dict[str, Array]]:
    """The layout of mnist's cnn29k and an update for it."""
    specs = tuple(TensorSpec(name, shape, "float32") for name, shape in _CNN29K)
    fan_in = {spec.name: max(1, spec.size // spec.shape[0]) for spec in specs}
    layout = Layout(specs)
    return layout, _update(layout, {name: fan**-0.5 for name, fan in fan_in.items()})


def of_file(path: Path) -> tuple[Layout, dict[str, Array]]:
    """The layout of a safetensors file (bfloat16 as float32) and an update in the scale of its tensors.

    Raises MusterError("bad_data").
    """
    from safetensors import SafetensorError, deserialize

    try:
        raw: dict[str, dict[str, Any]] = dict(sorted(deserialize(path.read_bytes())))  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        raise MusterError("bad_data", f"there is no file {path}: give a safetensors file") from None
    except (OSError, SafetensorError) as error:
        raise MusterError("bad_data", f"{path} is not a readable safetensors file: {error}") from None
    try:
        arrays = {name: _array(name, **raw.pop(name)) for name in list(raw)}
        layout = Layout(tuple(TensorSpec(n, a.shape, a.dtype.name) for n, a in arrays.items()))
        if not layout.parameters:
            raise TensorError("it holds no weights")
    except TensorError as error:
        raise MusterError("bad_data", f"{path} cannot be tried: {error}") from None
    full = {name: array for name, array in arrays.items() if array.size}
    return layout, _update(layout, {n: float(np.std(a, dtype=np.float64)) or 1.0 for n, a in full.items()})


def _array(name: str, dtype: str, shape: list[int], data: bytes) -> Array:
    """A tensor of a safetensors file. Raises TensorError where muster would not carry it."""
    if dtype not in _TYPES:
        raise TensorError(f"tensor {name!r} has type {dtype}; use one of {', '.join(_TYPES)}")
    if dtype == "BF16":  # the upper half of a float32
        array: Array = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        array = np.frombuffer(data, _TYPES[dtype])
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            if not np.isfinite(array.astype(np.float32)).all():
                raise TensorError(f"tensor {name!r} holds NaN, infinity or what float32 cannot hold")
    return array.reshape(shape)


def _update(layout: Layout, scales: dict[str, float]) -> dict[str, Array]:
    """Normal times log-normal, at most a tensor's scale; counters stay as they are."""
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for spec in layout.tensors:
        if spec.floating and spec.size:
            tail = rng.standard_normal(spec.shape) * np.exp(rng.standard_normal(spec.shape))
            step = np.clip(_STEP * tail, -1.0, 1.0)
            found[spec.name] = (step * scales[spec.name]).astype(spec.dtype)
        else:
            found[spec.name] = np.zeros(spec.shape, spec.dtype)
    return found
