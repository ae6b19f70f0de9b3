"""What a record carries or names in bulk: encoded tensors, shared samples, blobs."""

from __future__ import annotations

from muster.protocol.ids import BlobId
from muster.protocol.parts import Payload
from muster.protocol.records import Commit, Job, Shared, Update
from muster.protocol.versions import Received


def payload_of(record: Received) -> Payload | None:
    """The encoded tensors of an update or of a commit, or the samples that a node shares."""
    if isinstance(record, Update | Shared):
        return record.payload
    return record.delta if isinstance(record, Commit) else None


def named_blobs(record: Received) -> list[BlobId]:
    """The blobs that a record names: a job's frozen part; a commit's parameters, then its payload."""
    if isinstance(record, Job):
        return [record.frozen] if record.frozen is not None else []
    payload = payload_of(record)
    named = [record.params] if isinstance(record, Commit) else []
    return named + ([payload.blob] if payload is not None and payload.blob is not None else [])


def inline_bytes(record: Received) -> int:
    """How many bytes of a record are tensors that travel inside it."""
    payload = payload_of(record)
    return len(payload.inline or b"") if payload is not None else 0
