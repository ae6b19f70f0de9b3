"""A model's tensors as bytes: the layout that both ends know, and the dense blob.

A `Layout` names the tensors of a model in the order of its state_dict, with shape and dtype; it is part of
the task's fingerprint, so every node of a job has the same one and no blob repeats it.  A tied tensor is
stored once, under its first name; the layout knows its other names (`aliases`).

The dense blob is a header of 16 bytes (magic `MSTR`, format number u16, reserved u16, first 8 bytes of the
layout's fingerprint; little-endian), then the raw little-endian tensors in layout order, C order, no
padding.  Equal tensors are equal bytes.  Nothing in it is evaluated; every size is known beforehand.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

MAGIC = b"MSTR"
FORMAT = 1
TENSORS_MAX = 65_536
SIZE_BYTES_MAX = 1 << 40
SYNCED_BYTES = 1 << 20  # of a file, written at once
FLOATS = ("float32", "float64", "float16", "bfloat16")
DTYPES = (*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool")
_CHANGES = {  # of the other types it is their own
    "float16": "float32",
    "bfloat16": "float32",
    "int32": "int64",
    "int16": "int32",
    "int8": "int16",
    "uint8": "int16",
    "bool": "int8",
}

_HEADER = struct.Struct("<4sHH8s")
HEADER_BYTES = _HEADER.size


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The type of a dtype's name. bfloat16 is ml_dtypes', which is imported where it is needed."""
    if name == "bfloat16":
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found
    return np.dtype(name)


class TensorError(ValueError):
    """Tensors or bytes that do not fit the layout; the message is one sentence for people."""


@dataclass(frozen=True)
class TensorSpec:
    """One tensor: its name in the state_dict, its shape and its numpy dtype name.

    `learnt` is False for buffers, which training only keeps count in, such as a batch norm's statistics.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    learnt: bool = True

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise TensorError(f"tensor {self.name!r} has dtype {self.dtype}; use one of {', '.join(DTYPES)}")
        if any(n < 0 for n in self.shape):
            raise TensorError(f"tensor {self.name!r} has the impossible shape {self.shape}")

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.size * self.numpy_dtype.itemsize

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        return numpy_dtype(self.dtype)

    @property
    def floating(self) -> bool:
        """True for weights and statistics, False for counters and masks."""
        return self.dtype in FLOATS

    @property
    def averaged(self) -> bool:
        """True for a statistic: it travels as its value, and the nodes' values are averaged.

        A variance that is moved by differences ends below zero: by one of another base, or by rounding.
        """
        return self.floating and not self.learnt

    @property
    def change_dtype(self) -> str:
        """The type of a change of such a tensor (`change.py`)."""
        return _CHANGES.get(self.dtype, self.dtype)


@dataclass(frozen=True)
class Layout:
    """The tensors of a model in state_dict order; `aliases` maps other names of tied tensors to the first."""

    tensors: tuple[TensorSpec, ...]
    aliases: tuple[tuple[str, str], ...] = field(default=())
    of_changes: bool = False  # it describes a change (`change.py`), not a model

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.tensors] + [alias for alias, _ in self.aliases]
        if len(names) > TENSORS_MAX:
            raise TensorError(f"the model has {len(names)} tensors, the limit is {TENSORS_MAX}")
        if len(set(names)) != len(names):
            raise TensorError("two tensors of the model have the same name")
        missing = [name for _, name in self.aliases if name not in self.by_name]
        if missing:
            raise TensorError(f"the tied tensor {missing[0]!r} is not in the layout")
        if self.size_bytes > SIZE_BYTES_MAX:
            raise TensorError(f"the model has {self.size_bytes} bytes, the limit is {SIZE_BYTES_MAX}")

    @cached_property
    def by_name(self) -> dict[str, TensorSpec]:
        return {spec.name: spec for spec in self.tensors}

    @cached_property
    def changes(self) -> Layout:
        """The layout of a change of such a model (`change.py`)."""
        specs = (replace(spec, dtype=spec.change_dtype) for spec in self.tensors)
        return Layout(tuple(specs), self.aliases, of_changes=True)

    @property
    def parameters(self) -> int:
        """Number of floating-point elements, each tied tensor once."""
        return sum(spec.size for spec in self.tensors if spec.floating)

    @property
    def size_bytes(self) -> int:
        """Of the raw tensors, without the header."""
        return sum(spec.size_bytes for spec in self.tensors)

    @property
    def blob_bytes(self) -> int:
        return HEADER_BYTES + self.size_bytes

    def fingerprint(self) -> bytes:
        """SHA-256 over the canonical JSON of `to_plain`."""
        text = json.dumps(self.to_plain(), separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(b"muster-layout\x01" + text.encode()).digest()

    def to_plain(self) -> list[Any]:
        """Lists, strings and integers only, for MessagePack or JSON; `from_plain` reads it back."""
        return [
            [[spec.name, list(spec.shape), spec.dtype, spec.learnt] for spec in self.tensors],
            [[alias, name] for alias, name in self.aliases],
        ]

    @staticmethod
    def from_plain(plain: Any) -> Layout:
        try:
            tensors, aliases = plain
            specs = (TensorSpec(str(n), tuple(int(i) for i in s), str(d), bool(k)) for n, s, d, k in tensors)
            return Layout(
                tuple(specs),
                tuple((str(alias), str(name)) for alias, name in aliases),
            )
        except (TypeError, ValueError) as error:
            if isinstance(error, TensorError):
                raise
            raise TensorError(f"this is no tensor layout: {error}") from error


def check(layout: Layout, arrays: Mapping[str, Array], *, finite: bool = True) -> None:
    """Raise TensorError unless `arrays` has exactly the layout's names, shapes and dtypes (and is finite)."""
    if len(arrays) != len(layout.tensors):
        odd = sorted(set(arrays) ^ set(layout.by_name))
        raise TensorError(f"the tensors do not fit the layout: missing or unknown {', '.join(odd[:5])}")
    for spec in layout.tensors:
        array = arrays.get(spec.name)
        if array is None:
            raise TensorError(f"tensor {spec.name!r} is missing")
        if array.shape != spec.shape:
            raise TensorError(f"tensor {spec.name!r} has shape {array.shape}, the layout says {spec.shape}")
        if array.dtype.name != spec.dtype:
            raise TensorError(f"tensor {spec.name!r} has dtype {array.dtype}, the layout says {spec.dtype}")
        if finite and spec.floating and not bool(np.isfinite(array).all()):
            if layout.of_changes and spec.averaged and is_unchanged(array):
                continue
            raise TensorError(f"tensor {spec.name!r} holds values that are not finite")


def is_unchanged(array: Array) -> bool:
    """Whether a statistic's part of a change says that it did not change: it is all NaN."""
    return bool(np.isnan(array).all())


def chunks(layout: Layout, arrays: Mapping[str, Array]) -> Iterable[bytes | memoryview]:
    """The blob piece by piece, one tensor at a time and without a copy: a large model is never held twice."""
    yield _HEADER.pack(MAGIC, FORMAT, 0, layout.fingerprint()[:8])
    for spec in layout.tensors:
        little = spec.numpy_dtype.newbyteorder("<")
        yield arrays[spec.name].astype(little, copy=False).reshape(-1).view(np.uint8).data


def pack(layout: Layout, arrays: Mapping[str, Array], *, finite: bool = True) -> bytes:
    """The dense blob of `arrays` (name -> array, tied tensors under their first name). Raises TensorError."""
    check(layout, arrays, finite=finite)
    return b"".join(chunks(layout, arrays))


def unpack(
    layout: Layout, blob: bytes | bytearray | memoryview, *, finite: bool = True
) -> dict[str, NDArray[Any]]:
    """The tensors in `blob`, as read-only views of it, in layout order.

    Raises TensorError when it is of another format or layout, has a wrong size, or (with `finite`) holds a
    value that is not finite.
    """
    view = memoryview(blob).cast("B")
    if len(view) < HEADER_BYTES:
        raise TensorError(f"a tensor blob has at least {HEADER_BYTES} bytes, this one has {len(view)}")
    magic, number, reserved, hashed = _HEADER.unpack_from(view)
    if magic != MAGIC:
        raise TensorError("these bytes are no tensor blob")
    if number != FORMAT or reserved != 0:
        raise TensorError(f"the tensor blob has format {number}, this node reads {FORMAT}: update muster")
    if hashed != layout.fingerprint()[:8]:
        raise TensorError("the tensor blob is of another model: names, shapes or dtypes differ")
    if len(view) != layout.blob_bytes:
        raise TensorError(f"the tensor blob has {len(view)} bytes, its layout asks for {layout.blob_bytes}")
    arrays: dict[str, NDArray[Any]] = {}
    offset = HEADER_BYTES
    for spec in layout.tensors:
        little = spec.numpy_dtype.newbyteorder("<")
        if spec.dtype == "bool" and (np.frombuffer(view, np.uint8, spec.size, offset) > 1).any():
            raise TensorError(f"tensor {spec.name!r} holds bytes that are no truth values")
        raw: NDArray[Any] = np.frombuffer(view, little, spec.size, offset).reshape(spec.shape)
        array = raw.astype(spec.numpy_dtype, copy=False)
        array.flags.writeable = False
        arrays[spec.name] = array
        offset += spec.size_bytes
    if finite:
        check(layout, arrays)
    return arrays


def read(layout: Layout, path: Path) -> dict[str, NDArray[Any]]:
    """`unpack` the file at `path`. Raises TensorError, OSError."""
    size = path.stat().st_size
    if size != layout.blob_bytes:  # before reading: a wrong file may be huge
        raise TensorError(f"the tensor blob has {size} bytes, its layout asks for {layout.blob_bytes}")
    return unpack(layout, path.read_bytes())


def write(
    layout: Layout, path: Path, arrays: Mapping[str, Array], *, finite: bool = True, synced: bool = False
) -> int:
    """Write the blob to `path` through `path`.part; its size in bytes. Raises TensorError, OSError.

    `synced`: piece by piece, so that whoever syncs the file later, or another one beside it, need not wait.
    """
    check(layout, arrays, finite=finite)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for whole in chunks(layout, arrays):
            for start in range(0, len(whole), SYNCED_BYTES):
                file.write(whole[start : start + SYNCED_BYTES])
                if synced:
                    file.flush()
                    os.fdatasync(file.fileno())
    os.replace(part, path)
    return layout.blob_bytes


def expand(layout: Layout, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """`arrays` with the tied tensors under all of their names, as a state_dict has them."""
    full = dict(arrays)
    full.update({alias: arrays[name] for alias, name in layout.aliases})
    return full
