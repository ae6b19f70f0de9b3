"""Where a link's bytes go, counted by the sender: payload, what surrounds it, what was sent before."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from muster.protocol.contents import named_blobs
from muster.protocol.ids import BlobId, JobId, NodeId
from muster.protocol.records import Job
from muster.protocol.versions import Received

NEIGHBOURS_MAX = 512
JOBS_MAX = 128
BLOBS_MAX = 4096
REMEMBERED_MAX = 4096  # ranges and records sent to one neighbour, remembered to notice what goes twice


@dataclass
class BytesSent:
    """Bytes sent, before the engine's own framing."""

    payload: int = 0  # of updates and deltas, inside records or in chunks; models in chunks
    records: int = 0  # records beside their payload: identifiers, signatures, fields
    exchange: int = 0  # announcements, comparisons, requests, the headers of answers
    presence: int = 0  # heartbeats
    again: int = 0  # of payload and records: what this neighbour had been sent before
    frozen: int = 0  # of what tasks do not train, to nodes that lack it: once each, beside all rounds

    def total(self) -> int:
        return self.payload + self.records + self.exchange + self.presence + self.frozen


def _nobody(job: JobId, size_bytes: int) -> None:
    pass


@dataclass
class TrafficCounters:
    """Counts what one node sent since its start, by neighbour and by job.

    `on_job_bytes(job, size_bytes)` is called for what was sent or came of a job's records and blobs; of a
    blob whose job is not known with b"".
    """

    on_job_bytes: Callable[[JobId, int], None] = _nobody

    by_neighbour: OrderedDict[NodeId, BytesSent] = field(default_factory=OrderedDict)
    by_job: OrderedDict[JobId, BytesSent] = field(default_factory=OrderedDict)
    # by the first 8 bytes of a blob: its job, and whether it is of what the task does not train
    _blobs: OrderedDict[bytes, tuple[JobId, bool]] = field(default_factory=OrderedDict)
    _sent_before: dict[NodeId, tuple[set[bytes], deque[bytes]]] = field(default_factory=dict)

    def to_neighbour(self, node: NodeId) -> BytesSent:
        if node not in self.by_neighbour and len(self.by_neighbour) >= NEIGHBOURS_MAX:
            oldest, _ = self.by_neighbour.popitem(last=False)
            self._sent_before.pop(oldest, None)
        return self.by_neighbour.setdefault(node, BytesSent())

    def for_job(self, job: JobId) -> BytesSent:
        if job not in self.by_job and len(self.by_job) >= JOBS_MAX:
            self.by_job.popitem(last=False)
        return self.by_job.setdefault(job, BytesSent())

    def total(self) -> BytesSent:
        """To all neighbours."""
        every = list(self.by_neighbour.values())
        return BytesSent(*(sum(getattr(s, f.name) for s in every) for f in fields(BytesSent)))

    def job_of(self, blob: BlobId) -> JobId:
        """The job that a blob was assigned to; b"": none."""
        return self._blobs.get(blob[:8], (b"", False))[0]

    def assign_blobs(self, record: Received, job: JobId) -> None:
        """The chunks of the blobs that a record of `job` names count for that job."""
        for blob in named_blobs(record):
            self.assign_blob(blob, job, frozen=isinstance(record, Job))

    def assign_blob(self, blob: BlobId, job: JobId, *, frozen: bool = False) -> None:
        """A record of `job` names this blob: its chunks count for that job. `frozen`: it is what the task
        does not train."""
        self._blobs[blob[:8]] = job, frozen
        while len(self._blobs) > BLOBS_MAX:
            self._blobs.popitem(last=False)

    def add_record(self, node: NodeId, name: bytes, job: JobId, wire_bytes: int, payload_bytes: int) -> None:
        """A record went out in `wire_bytes`, of which `payload_bytes` are tensors."""
        again = wire_bytes if self._was_sent(node, name) else 0
        for sent in (self.to_neighbour(node), self.for_job(job)):
            sent.payload += payload_bytes
            sent.records += wire_bytes - payload_bytes
            sent.again += again
        if job:
            self.on_job_bytes(job, wire_bytes)

    def took_record(self, job: JobId, wire_bytes: int) -> None:
        """A record came."""
        if job:
            self.on_job_bytes(job, wire_bytes)

    def took_chunk(self, blob: bytes, size_bytes: int) -> None:
        """A chunk of a blob (the first 8 bytes of its id) came."""
        self.on_job_bytes(self.job_of(blob), size_bytes)

    def add_chunk(self, node: NodeId, blob: bytes, offset: int, size_bytes: int) -> None:
        """A chunk of a blob (the first 8 bytes of its id) went out."""
        again = size_bytes if self._was_sent(node, blob + offset.to_bytes(8, "big")) else 0
        job, frozen = self._blobs.get(blob, (None, False))
        for sent in (self.to_neighbour(node), *((self.for_job(job),) if job is not None else ())):
            if frozen:
                sent.frozen += size_bytes
                continue
            sent.payload += size_bytes
            sent.again += again
        self.on_job_bytes(job or b"", size_bytes)

    def add_exchange(self, node: NodeId, exchange_bytes: int, presence_bytes: int = 0) -> None:
        """An announcement, a comparison or a request went out, without the records in it."""
        sent = self.to_neighbour(node)
        sent.exchange += exchange_bytes
        sent.presence += presence_bytes

    def _was_sent(self, node: NodeId, name: bytes) -> bool:
        """Whether this went to the neighbour before; from now on it did."""
        names, order = self._sent_before.setdefault(node, (set(), deque()))
        if name in names:
            return True
        names.add(name)
        order.append(name)
        if len(order) > REMEMBERED_MAX:
            names.discard(order.popleft())
        return False
