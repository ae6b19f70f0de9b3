"""Parameters as blobs of the store: read by tensor name, and written aside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from muster.compression.tensors import Array, Layout, check, chunks, unpack
from muster.protocol.ids import BlobId
from muster.storage.store import Blobs, StagedBlob

Arrays = dict[str, Any]


class WrongModel(Exception):
    """Parameters cannot be rebuilt, or do not hash to what their commit says."""


@dataclass(frozen=True)
class Reader:
    """Reads parameters, by tensor name. The call takes long; in any thread.

    It raises KeyError when they were deleted meanwhile.
    """

    store: Blobs
    layout: Layout
    blob: BlobId

    def __call__(self) -> Arrays:
        return unpack(self.layout, self.store.read_blob(self.blob))


def stage_arrays(store: Blobs, layout: Layout, arrays: Mapping[str, Array]) -> StagedBlob:
    """Write parameters aside as a dense blob. Takes long; in any thread. Raises TensorError."""
    check(layout, arrays)
    return store.stage(chunks(layout, arrays))
