"""A dense blob's file as a mapping of tensors: whichever process asks for one maps the file."""

from __future__ import annotations

import contextlib
import mmap
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from muster.compression.tensors import Array, Layout, TensorError, unpack


class TensorFile(Mapping[str, Array]):
    """The tensors of the dense blob at `path`, which is deleted with this object.

    Nothing is read before a tensor is looked at.  A pickled one is another process's look at the same file,
    and deletes nothing.
    """

    def __init__(self, layout: Layout, path: Path) -> None:
        """Raises TensorError for another file than the layout says, OSError."""
        self._layout, self._path = layout, path
        weakref.finalize(self, _unlink, path)
        self._tensors = look_at(layout, path)

    def __getitem__(self, name: str) -> Array:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __reduce__(self) -> tuple[Any, ...]:
        return look_at, (self._layout, self._path)


def look_at(layout: Layout, path: Path) -> dict[str, Array]:
    """The tensors of a file that somebody else deletes, mapped. Raises TensorError, OSError."""
    size_bytes = path.stat().st_size
    if size_bytes != layout.blob_bytes:
        raise TensorError(f"the tensor blob has {size_bytes} bytes, its layout asks for {layout.blob_bytes}")
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), size_bytes, access=mmap.ACCESS_READ)
    return unpack(layout, memoryview(mapped), finite=False)


def _unlink(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
