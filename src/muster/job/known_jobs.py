"""What is asked of a node's jobs from below: which neighbour needs a record, which may have a blob.

Made before the exchange and the transfers, which ask; filled by the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from muster.job import forwarding
from muster.network.sync.deferred import Deferral
from muster.protocol.records import BlobId, JobId, NodeId, Record, RecordId

if TYPE_CHECKING:
    from muster.job.runner import JobRunner


class KnownJobs:
    """Answers as `network.sync.deferred.Forwarding`, and gives hints to transfers."""

    def __init__(self) -> None:
        self.runners: dict[JobId, JobRunner] = {}
        self.sources: dict[BlobId, NodeId] = {}  # from whom the record that names a blob was learnt

    def hints(self, blob: BlobId) -> list[NodeId]:
        """Neighbours from whom the record that names a blob was learnt."""
        source = self.sources.get(blob)
        return [source] if source else []

    def defer(self, author: NodeId, record: Record) -> Deferral | None:
        runner = self._runner_of(record)
        if runner is None:
            return None
        return forwarding.defer(runner.view, runner.models.known_heads(), author, record)

    def obsolete(self, author: NodeId, record: Record) -> bool:
        runner = self._runner_of(record)
        return runner is not None and forwarding.obsolete(runner.models.known_heads(), author, record)

    def unacknowledged(self, *, had_deferred: bool) -> list[RecordId]:
        return [
            record_id
            for runner in self.runners.values()
            for record_id in forwarding.unacknowledged(
                runner.view, runner.models.known_heads(), had_deferred=had_deferred
            )
        ]

    def _runner_of(self, record: Record) -> JobRunner | None:
        return self.runners.get(getattr(record, "job", b""))
