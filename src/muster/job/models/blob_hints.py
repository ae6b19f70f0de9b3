"""Remembers from which neighbour the record that names a blob came: it is likely to have the blob."""

from __future__ import annotations

from collections.abc import Callable

from muster.network.sync.ledger import Entry
from muster.protocol.contents import named_blobs
from muster.protocol.records import BlobId, JobId, NodeId


class BlobHints:
    """The sources of blobs that updates and commits of this node's jobs name."""

    def __init__(self, assign: Callable[[BlobId, JobId], None] = lambda blob, job: None) -> None:
        """`assign(blob, job)`: a record of the job names the blob."""
        self._assign = assign
        self._sources: dict[BlobId, NodeId] = {}

    def learn(self, entry: Entry) -> None:
        """Note the source of the blobs that a record names; a record of this node's own has none."""
        for blob in named_blobs(entry.record):
            self._assign(blob, getattr(entry.record, "job", b""))
            if entry.source:
                self._sources[blob] = entry.source

    def neighbours(self, blob: BlobId) -> list[NodeId]:
        """Neighbours that may have the blob, the most likely first."""
        source = self._sources.get(blob)
        return [source] if source else []
