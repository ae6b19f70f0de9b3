"""Tensors as the Open Inference Protocol names, checks and carries them: in JSON, or as bytes behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

AXES_MAX = 8
SAMPLES_MAX = 4096  # of one request
_DTYPES = {
    "BOOL": "bool", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1",
    "INT16": "i2", "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip
DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(text) for name, text in _DTYPES.items()}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_OF_ONNX = {
    "tensor(bool)": "BOOL", "tensor(uint8)": "UINT8", "tensor(uint16)": "UINT16", "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64", "tensor(int8)": "INT8", "tensor(int16)": "INT16", "tensor(int32)": "INT32",
    "tensor(int64)": "INT64", "tensor(float16)": "FP16", "tensor(float)": "FP32", "tensor(double)": "FP64",
}  # fmt: skip


class BadRequest(Exception):
    """A request that cannot be answered: the message is a sentence for the client."""


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a model. A size of -1 is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @cached_property
    def _sample(self) -> list[int]:
        """The shape of one sample."""
        return list(self.shape[1:])

    @staticmethod
    def of_onnx(name: str, kind: str, shape: Sequence[int | str | None]) -> TensorSpec:
        """As onnxruntime describes it. Raises ValueError for what the protocol has no name for."""
        if kind not in _OF_ONNX:
            raise ValueError(f"{name!r} is a {kind}, which is not served")
        return TensorSpec(name, _OF_ONNX[kind], tuple(n if isinstance(n, int) else -1 for n in shape))

    def check(self, shape: Sequence[int], datatype: str) -> None:
        """Raises BadRequest when a tensor does not fit."""
        usual = shape and self.shape and self.shape[0] < 0 < shape[0] <= SAMPLES_MAX
        if usual and datatype == self.datatype and shape[1:] == self._sample:
            return
        if datatype != self.datatype:
            raise BadRequest(f"the input {self.name!r} takes {self.datatype}, not {datatype[:20]!r}")
        fits = len(shape) == len(self.shape) and all(
            size >= 0 and own in (-1, size) for own, size in zip(self.shape, shape, strict=True)
        )
        if not fits:
            own = f"the input {self.name!r} has the shape {list(self.shape)} (-1: any size)"
            raise BadRequest(f"{own}, not {list(shape[:AXES_MAX])}")
        if shape and not 0 < shape[0] <= SAMPLES_MAX:
            raise BadRequest(f"{shape[0]} samples in one request: send 1 to {SAMPLES_MAX}")


def name_of(array: NDArray[Any]) -> str:
    """The protocol's name of an array's dtype."""
    return _NAMES[array.dtype]


def from_bytes(name: str, datatype: str, shape: Sequence[int], data: memoryview) -> NDArray[Any]:
    """A tensor from its elements in C order, little endian; a view of `data`. Raises BadRequest."""
    dtype = DTYPES[datatype]
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        what = f"the input {name!r} of the shape {list(shape)} and {datatype}"
        raise BadRequest(f"{what} has {wanted} bytes, not {len(data)}")
    if datatype == "BOOL" and wanted and np.frombuffer(data, np.uint8).max() > 1:
        raise BadRequest(f"the input {name!r} is BOOL: its bytes are 0 or 1")
    return np.frombuffer(data, dtype).reshape(shape)


def from_json(name: str, datatype: str, shape: Sequence[int], data: msgspec.Raw) -> NDArray[Any]:
    """A tensor from a JSON list, flat or nested. Raises BadRequest."""
    dtype = DTYPES[datatype]
    if datatype == "FP16":
        raise BadRequest(f"the input {name!r} is FP16, which JSON has not: send it as binary data")
    text = memoryview(data)
    depth, at = 0, 0
    while at < len(text) and text[at] in b"[ \t\r\n" and depth <= AXES_MAX:
        depth += text[at] == ord("[")
        at += 1
    if not 0 < depth <= AXES_MAX:
        raise BadRequest(f"the data of the input {name!r} is no list of numbers")
    try:
        array = np.asarray(_decoder(dtype.kind, depth).decode(text), dtype)
    except (msgspec.ValidationError, msgspec.DecodeError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(f"the data of the input {name!r} is no {datatype}: {str(error)[:200]}") from error
    if array.size != math.prod(shape) or (depth > 1 and array.shape != tuple(shape)):
        raise BadRequest(
            f"the data of the input {name!r} has the shape {list(array.shape)}, its shape says {list(shape)}"
        )
    return array.reshape(shape)


@cache
def _decoder(kind: str, depth: int) -> msgspec.json.Decoder[Any]:
    of: Any = {"b": bool, "f": float}.get(kind, int)
    for _ in range(depth):
        of = list[of]
    return msgspec.json.Decoder(of)


def to_bytes(array: NDArray[Any]) -> bytes:
    """The elements in C order, little endian."""
    return np.ascontiguousarray(array).tobytes()
