"""The store interface: what a node keeps.  `disk.DiskStore` keeps it in SQLite and files; the simulation
has one in memory that can lose what was not synced.

Rules: a call that returns has made its change durable (fsync) unless it runs inside `transaction()`, which
makes all of its changes durable together at its end or none of them.  Calls are synchronous and short, but
for those that hash and sync whole blobs: `stage`, `stage_file`, `PartialBlob.check`.  These and `read_blob`
may be called in any thread (`offload`), all others belong to one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from muster.protocol.ids import BlobId, JobId, NodeId, RecordId

Buffer: TypeAlias = bytes | bytearray | memoryview


class StorageError(Exception):
    """The disk is full, read-only or damaged; the message is one sentence with what to do."""

    code = "home"  # of `muster.errors`, when it ends the node


class DiskFull(StorageError):
    """There is no room."""

    code = "disk_full"


@dataclass(frozen=True)
class StoredRecord:
    sequence: int  # this store's own growing number; neighbours use it as a cursor
    id: RecordId
    kind: str  # records.<Type>.KIND, or that of `versions.Unknown`
    job: JobId  # b"" when it belongs to none
    wire: bytes  # the packed Signed envelope
    source: NodeId  # the neighbour that it was learnt from; b"" when made here


class PartialBlob(Protocol):
    """A blob that is arriving: survives restarts, knows which cells of 4096 bytes it has."""

    size_bytes: int

    def has(self, offset: int, length: int) -> bool: ...

    def missing(self) -> list[tuple[int, int]]:
        """Ranges (offset, length) still missing, in order."""

    def write(self, offset: int, data: bytes) -> None: ...

    def read(self, offset: int, length: int) -> bytes: ...

    def check(self) -> bool:
        """When complete: whether the bytes have the right hash; they are synced then. Takes long."""

    def finish(self, right: bool | None = None) -> bool:
        """When complete: make it a blob; False (and all forgotten) if it is wrong.

        `right` is what `check` said; None: check now.
        """


class StagedBlob(Protocol):
    """Bytes that are on the disk, hashed and synced, and no blob yet; they go when it is forgotten."""

    @property
    def blob(self) -> BlobId: ...

    @property
    def size_bytes(self) -> int: ...


class Blobs(Protocol):
    """What heavy work may use of a store, in any thread; of one that can be pickled, in another process."""

    def read_blob(self, blob: BlobId, offset: int = 0, length: int | None = None) -> bytes | memoryview: ...

    def stage(self, pieces: Iterable[Buffer]) -> StagedBlob:
        """Write the pieces of a blob aside. Takes long."""


class Store(Protocol):
    incarnation: (
        int  # drawn at random (31 bits) when the store is created: a node that lost its store has another one
    )

    def transaction(self) -> AbstractContextManager[None]: ...

    # records
    def add(self, record_id: RecordId, kind: str, job: JobId, wire: bytes, source: NodeId) -> int | None:
        """Keep a record; its sequence number, or None when it was there already."""

    def get(self, record_id: RecordId) -> StoredRecord | None: ...

    def rename(self, record_id: RecordId, kind: str, job: JobId) -> None:
        """Keep a record as one of another kind and job, with its number."""

    def find(self, prefix: bytes) -> list[RecordId]:
        """Ids of records that begin with `prefix`."""

    def since(self, sequence: int, limit: int) -> list[StoredRecord]:
        """Records after `sequence`, in order."""

    def last_sequence(self) -> int: ...

    def remove(self, record_ids: Sequence[RecordId]) -> None:
        """Delete records, those that are here. Never the last one: others know how far the numbers go."""

    def select(
        self, kind: str, job: JobId | None = None, after: int = 0, limit: int | None = None
    ) -> list[StoredRecord]:
        """Records of a kind, and of a job, after a sequence number, in order; `limit` at most."""

    # small named state (bytes), e.g. the residual's blob id, next sequence number, cursors
    def state(self, key: str) -> bytes | None: ...

    def set_state(self, key: str, value: bytes | None) -> None: ...

    def note_state(self, key: str, value: bytes | None) -> None:
        """`set_state` that a power cut may undo: without a sync, for what can be found out again."""

    # blobs
    def has_blob(self, blob: BlobId) -> bool: ...

    def blob_size(self, blob: BlobId) -> int | None: ...

    def put_blob(self, data: bytes) -> BlobId: ...

    def stage(self, pieces: Iterable[Buffer]) -> StagedBlob:
        """Write the pieces of a blob aside. Takes long."""

    def stage_file(self, path: Path) -> StagedBlob:
        """The same for a finished file (same file system), which is there no more. Takes long."""

    def put_staged(self, staged: StagedBlob) -> BlobId:
        """`put_blob` of what was staged here; short."""

    def adopt_blob(self, path: Path) -> BlobId:
        """Move a finished file (same file system) into the store."""

    def read_blob(self, blob: BlobId, offset: int = 0, length: int | None = None) -> bytes: ...

    def sound(self, blob: BlobId) -> bool:
        """Whether a blob's bytes are still those that it is named by. Takes long; in any thread.

        Raises KeyError, StorageError.
        """

    def blob_path(self, blob: BlobId) -> Path:
        """For the trainer child, which maps it."""

    def partial(self, blob: BlobId, size_bytes: int) -> PartialBlob: ...

    def delete_blob(self, blob: BlobId) -> None: ...

    def blobs(self) -> Iterator[tuple[BlobId, int]]: ...

    def used_bytes(self) -> int: ...

    def close(self) -> None: ...
