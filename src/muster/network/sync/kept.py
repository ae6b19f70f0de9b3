"""Reads the records that a node keeps, and knows which of them nobody is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from muster.network.sync.refusals import Refusals
from muster.network.trust.signing import TrustStore
from muster.protocol.envelope import RecordError, unpack
from muster.protocol.ids import NOBODY, JobId, NodeId, RecordId
from muster.protocol.records import Job
from muster.protocol.versions import Received
from muster.storage.store import Store, StoredRecord


@dataclass(frozen=True, slots=True)
class Entry:
    """A record as the listeners get it."""

    id: RecordId
    author: NodeId
    record: Received
    source: NodeId  # the neighbour that it was learnt from; b"" when made here
    sequence: int
    size_bytes: int


class KeptRecords:
    """The records in a store; they were verified when they came."""

    def __init__(self, store: Store, trust: TrustStore, on_problem: Callable[[str], None]) -> None:
        self.store, self.trust = store, trust
        self.refusals = Refusals()
        self.quarantined: set[RecordId] = set()  # kept records that nobody is given
        self._on_problem = on_problem

    def load(self, kind: str, job: JobId | None = None) -> list[Entry]:
        """Kept records of one kind, in the order in which they came; they were verified when they came."""
        return self._entries(self.store.select(kind, job))

    def load_slice(
        self, kind: str, job: JobId | None, after: int, limit: int
    ) -> tuple[list[Entry], int] | None:
        """The next `limit` records of `load` after a sequence number, and the number to go on with; None: no
        more."""
        found = self.store.select(kind, job, after, limit)
        return (self._entries(found), found[-1].sequence) if found else None

    def _entries(self, found: list[StoredRecord]) -> list[Entry]:
        entries = []
        for stored in found:
            if stored.id in self.quarantined:
                continue
            try:
                entries.append(self.entry_of(stored))
            except RecordError as error:  # the disk changed it
                self._quarantine(stored.id, NOBODY, str(error))
        return entries

    def entry_of(self, stored: StoredRecord) -> Entry:
        """A kept record as the listeners get it; it was verified when it came. Raises RecordError."""
        author, record = self._read(stored.wire)
        return Entry(stored.id, author, record, stored.source, stored.sequence, len(stored.wire))

    def _read(self, wire: bytes) -> tuple[NodeId, Received]:
        signed = unpack(wire)
        return signed.author, self.trust.vocabulary.read(signed.body, signed.needs)

    def _find(self, record_id: RecordId) -> Received | None:
        """A kept record that is not quarantined."""
        stored = self.store.get(record_id) if record_id not in self.quarantined else None
        return self._read(stored.wire)[1] if stored is not None else None

    def _asker_of(self, job: JobId) -> NodeId | None:
        stored = self.store.get(job) if job not in self.quarantined else None
        return unpack(stored.wire).author if stored is not None and stored.kind == Job.KIND else None

    def _quarantine(self, record_id: RecordId, author: NodeId, reason: str) -> None:
        self.quarantined.add(record_id)
        if self.refusals.count(author, reason):
            by = f" by {self.trust.name(author)}" if author else ""
            self._on_problem(f"a kept record{by} is set aside: {reason}")


def job_of(record: Received, record_id: RecordId) -> JobId:
    """The job a record belongs to; b"" for fleet records. A Job record belongs to itself."""
    if record.KIND == "job":
        return record_id
    return getattr(record, "job", NOBODY)
