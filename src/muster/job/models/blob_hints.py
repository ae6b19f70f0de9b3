"""Remembers from which neighbour the record that names a blob came: it is likely to have the blob."""

from __future__ import annotations

from muster.network.sync.ledger import Entry
from muster.protocol.records import BlobId, Commit, NodeId, Payload, Record, Update


class BlobHints:
    """The sources of blobs that updates and commits of this node's jobs name."""

    def __init__(self) -> None:
        self._sources: dict[BlobId, NodeId] = {}

    def learn(self, entry: Entry) -> None:
        """Note the source of the blobs that a record names; a record of this node's own has none."""
        if entry.source:
            for blob in _blobs(entry.record):
                self._sources[blob] = entry.source

    def neighbours(self, blob: BlobId) -> list[NodeId]:
        """Neighbours that may have the blob, the most likely first."""
        source = self._sources.get(blob)
        return [source] if source else []


def _blobs(record: Record) -> list[BlobId]:
    payload: Payload | None = None
    blobs: list[BlobId] = []
    if isinstance(record, Update):
        payload = record.payload
    elif isinstance(record, Commit):
        payload = record.delta
        blobs.append(record.params)
    if payload is not None and payload.blob is not None:
        blobs.append(payload.blob)
    return blobs
