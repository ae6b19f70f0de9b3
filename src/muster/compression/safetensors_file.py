"""Models in safetensors files, as others wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from muster.compression.tensors import Array
from muster.errors import MusterError

# A file's types as numpy's. bfloat16, which numpy has not, becomes float32: tasks train it so.
_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file by name, in the order of their names; bfloat16 as float32.

    Raises MusterError("bad_data"), also for a type that muster does not carry.
    """
    from safetensors import SafetensorError, deserialize

    try:
        raw: dict[str, dict[str, Any]] = dict(sorted(deserialize(path.read_bytes())))  # type: ignore[no-untyped-call]
    except FileNotFoundError:
        raise MusterError("bad_data", f"there is no file {path}: give a safetensors file") from None
    except (OSError, SafetensorError) as error:
        raise MusterError("bad_data", f"{path} is not a readable safetensors file: {error}") from None
    strange = next((name for name, tensor in raw.items() if tensor["dtype"] not in _TYPES), None)
    if strange is not None:
        what = f"tensor {strange!r} of {path} has type {raw[strange]['dtype']}"
        raise MusterError("bad_data", f"{what}; use one of {', '.join(_TYPES)}")
    return {name: _array(**raw.pop(name)) for name in list(raw)}


def _array(dtype: str, shape: list[int], data: bytes) -> Array:
    if dtype == "BF16":  # the upper half of a float32
        array: Array = (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")
    else:
        array = np.frombuffer(data, _TYPES[dtype])
    return array.reshape(shape)
