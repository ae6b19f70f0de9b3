"""Where a link's bytes go, as the sender counts them: payload, what surrounds it, what was sent again."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, fields

from muster.protocol.records import BlobId, JobId, NodeId

NEIGHBOURS_MAX = 512
JOBS_MAX = 128
BLOBS_MAX = 4096
AGAIN_MAX = 4096  # ranges and records of a neighbour that are remembered, to tell what goes twice


@dataclass
class Sent:
    """Bytes sent, before the engine's own framing."""

    payload: int = 0  # of updates and deltas, inside records or in chunks; models in chunks
    records: int = 0  # records beside their payload: identifiers, signatures, fields
    exchange: int = 0  # announcements, comparisons, requests, the heads of answers
    presence: int = 0  # words
    again: int = 0  # of payload and records: what this neighbour had been sent before

    def total(self) -> int:
        return self.payload + self.records + self.exchange + self.presence


@dataclass
class TrafficCounters:
    """Counters of one node since its start, by neighbour and by job."""

    by_neighbour: OrderedDict[NodeId, Sent] = field(default_factory=OrderedDict)
    by_job: OrderedDict[JobId, Sent] = field(default_factory=OrderedDict)
    _blobs: OrderedDict[bytes, JobId] = field(default_factory=OrderedDict)
    _before: dict[NodeId, tuple[set[bytes], deque[bytes]]] = field(default_factory=dict)

    def neighbour(self, node: NodeId) -> Sent:
        if node not in self.by_neighbour and len(self.by_neighbour) >= NEIGHBOURS_MAX:
            gone, _ = self.by_neighbour.popitem(last=False)
            self._before.pop(gone, None)
        return self.by_neighbour.setdefault(node, Sent())

    def job(self, job: JobId) -> Sent:
        if job not in self.by_job and len(self.by_job) >= JOBS_MAX:
            self.by_job.popitem(last=False)
        return self.by_job.setdefault(job, Sent())

    def record(self, node: NodeId, name: bytes, job: JobId, wire_bytes: int, payload_bytes: int) -> None:
        """A record went out in `wire_bytes`, of which `payload_bytes` are tensors."""
        again = wire_bytes if self._seen(node, name) else 0
        for sent in (self.neighbour(node), self.job(job)):
            sent.payload += payload_bytes
            sent.records += wire_bytes - payload_bytes
            sent.again += again

    def chunk(self, node: NodeId, blob: bytes, offset: int, size_bytes: int) -> None:
        """A chunk of a blob (the first 8 bytes of its id) went out."""
        again = size_bytes if self._seen(node, blob + offset.to_bytes(8, "big")) else 0
        job = self._blobs.get(blob)
        for sent in (self.neighbour(node), *((self.job(job),) if job is not None else ())):
            sent.payload += size_bytes
            sent.again += again

    def belongs(self, blob: BlobId, job: JobId) -> None:
        """A record of `job` names this blob."""
        self._blobs[blob[:8]] = job
        while len(self._blobs) > BLOBS_MAX:
            self._blobs.popitem(last=False)

    def total(self) -> Sent:
        """To all neighbours."""
        every = list(self.by_neighbour.values())
        return Sent(*(sum(getattr(s, f.name) for s in every) for f in fields(Sent)))

    def told(self, node: NodeId, exchange_bytes: int, presence_bytes: int = 0) -> None:
        """An announcement, a comparison or a request, without the records in it."""
        sent = self.neighbour(node)
        sent.exchange += exchange_bytes
        sent.presence += presence_bytes

    def _seen(self, node: NodeId, name: bytes) -> bool:
        names, order = self._before.setdefault(node, (set(), deque()))
        if name in names:
            return True
        names.add(name)
        order.append(name)
        if len(order) > AGAIN_MAX:
            names.discard(order.popleft())
        return False
