"""What a node gives to others, tied to its owner's limits: which bytes count, and what it stops giving."""

from __future__ import annotations

from muster.job.adapting.budget import AskBudget
from muster.job.forwarding import JobForwarding
from muster.job.owner.allowance import Allowance
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.ids import BlobId, JobId, NodeId
from muster.storage.store import Store


class Giving:
    """Counts the bytes of others' jobs into the owner's allowance, and those of jobs that adapt and that this
    node asked for."""

    def __init__(
        self, node: NodeId, store: Store, allowance: Allowance, forwarding: JobForwarding, asked: AskBudget
    ) -> None:
        self._node, self._store, self._allowance = node, store, allowance
        self._forwarding, self._asked = forwarding, asked
        self.traffic = TrafficCounters(self._count)

    def gives(self, blob: BlobId) -> bool:
        """Whether neighbours get a blob that is here: once all bytes are given, what this node made and what
        belongs to its own jobs."""
        if not self._allowance.bytes_given or self._own(self.traffic.job_of(blob)):
            return True
        return self._forwarding.made_here(blob)

    def _count(self, job: JobId, size_bytes: int) -> None:
        """Bytes of a job, or of a blob that is passed on (b""), were sent or came."""
        if self._forwarding.adapts(job) and self._own(job):
            self._asked.add_bytes(size_bytes)
        elif self._allowance.counts and not self._own(job):
            self._allowance.add_bytes(size_bytes)

    def _own(self, job: JobId) -> bool:
        """Whether this node asked for a job."""
        asker = self._forwarding.asker(job)
        if asker is not None:
            return asker == self._node
        stored = self._store.get(job) if job else None
        return stored is not None and stored.source == b""
