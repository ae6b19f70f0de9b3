"""Models in safetensors files, as others wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from muster.compression.tensors import Array, numpy_dtype
from muster.errors import MusterError

# A file's types as a layout's.
_TYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def read(path: Path) -> dict[str, Array]:
    """The tensors of a safetensors file by name, in the order of their names.

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
    array: Array = np.frombuffer(data, numpy_dtype(_TYPES[dtype]).newbyteorder("<"))
    return array.reshape(shape)
