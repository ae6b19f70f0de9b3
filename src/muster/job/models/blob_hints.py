"""Remembers from which neighbour the record that names a blob came: it is likely to have the blob."""

from __future__ import annotations

from collections.abc import Callable

from muster.network.sync.ledger import Entry, job_of
from muster.protocol.contents import named_blobs
from muster.protocol.ids import BlobId, JobId, NodeId
from muster.protocol.versions import Received


class BlobHints:
    """The sources of blobs that updates and commits of this node's jobs name."""

    def __init__(self, assign: Callable[[Received, JobId], None] = lambda record, job: None) -> None:
        """`assign(record, job)`: a record of the job may name blobs."""
        self._assign = assign
        self._sources: dict[BlobId, NodeId] = {}

    def learn(self, entry: Entry) -> None:
        """Note the source of the blobs that a record names; a record of this node's own has none."""
        self._assign(entry.record, job_of(entry.record, entry.id))
        if entry.source:
            for blob in named_blobs(entry.record):
                self._sources[blob] = entry.source

    def neighbours(self, blob: BlobId) -> list[NodeId]:
        """Neighbours that may have the blob, the most likely first."""
        source = self._sources.get(blob)
        return [source] if source else []
