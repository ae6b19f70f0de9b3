"""Every record goes through the ledger when it comes to a node, whoever made it.

The ledger verifies it, keeps it durably, then tells the listeners (the jobs; the exchange with neighbours).
A record by an unknown or revoked author is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from muster.errors import MusterError
from muster.network.trust.signing import Signer, TrustStore, UnknownAuthor, seal
from muster.protocol.envelope import RecordError, decode, unpack
from muster.protocol.records import NOBODY, JobId, Member, NodeId, Record, RecordId, Revocation
from muster.storage.store import Store


@dataclass(frozen=True)
class Entry:
    """A record as the listeners get it."""

    id: RecordId
    author: NodeId
    record: Record
    source: NodeId  # the neighbour that it was learnt from; b"" when made here
    sequence: int
    size_bytes: int


@dataclass
class Refusals:
    """What was dropped, for the status page: counts only."""

    invalid: int = 0
    unknown_author: int = 0
    last: str = ""


Listener = Callable[[Entry], None]


def _raise(what: str, error: Exception) -> None:
    raise error


@dataclass
class Ledger:
    """Makes, takes in and loads the records of one node."""

    store: Store
    signer: Signer
    trust: TrustStore
    listeners: list[Listener] = field(default_factory=list)
    refusals: Refusals = field(default_factory=Refusals)
    on_fault: Callable[[str, Exception], None] = _raise  # what a listener raised

    def publish(self, record: Record) -> RecordId:
        """Sign and keep a record made here, then announce it. Durable when this returns."""
        record_id, wire = seal(self.signer, record)
        if isinstance(record, Member):
            self.trust.verify(wire)
        self._keep(record_id, self.signer.node, record, wire, b"")
        return record_id

    def keep_unannounced(self, record: Record) -> tuple[RecordId, Callable[[], None]]:
        """Keep a record inside the caller's transaction; call what is returned after it to announce."""
        record_id, wire = seal(self.signer, record)
        sequence = self.store.add(record_id, record.KIND, job_of(record, record_id), wire, b"")

        def announce() -> None:
            if sequence is not None:
                self._tell(Entry(record_id, self.signer.node, record, b"", sequence, len(wire)))

        return record_id, announce

    def receive(self, wire: bytes, source: NodeId) -> RecordId | None:
        """Take in a record from a neighbour; None when it was refused. Raises UnknownAuthor."""
        try:
            record_id, author, record = self.trust.verify(wire)
        except UnknownAuthor:
            self.refusals.unknown_author += 1
            raise
        except (RecordError, MusterError) as error:
            self.refusals.invalid += 1
            self.refusals.last = str(error)
            return None
        self._keep(record_id, author, record, wire, source)
        return record_id

    def replay(self) -> None:
        """After a start: learn members and revocations from what is kept (listeners load the rest)."""
        for kind in (Member.KIND, Revocation.KIND):
            for stored in self.store.select(kind):
                self.trust.verify(stored.wire)

    def load(self, kind: str, job: JobId | None = None) -> list[Entry]:
        """Kept records of one kind, in the order in which they came; they were verified when they came."""
        entries = []
        for stored in self.store.select(kind, job):
            signed = unpack(stored.wire)
            record, size = decode(signed.body), len(stored.wire)
            entries.append(Entry(stored.id, signed.author, record, stored.source, stored.sequence, size))
        return entries

    def _keep(self, record_id: RecordId, author: NodeId, record: Record, wire: bytes, source: NodeId) -> None:
        sequence = self.store.add(record_id, record.KIND, job_of(record, record_id), wire, source)
        if sequence is not None:
            self._tell(Entry(record_id, author, record, source, sequence, len(wire)))

    def _tell(self, entry: Entry) -> None:
        for listener in self.listeners:
            try:
                listener(entry)
            except Exception as error:  # it is kept, and the other listeners are to know of it
                self.on_fault("telling of a record", error)


def job_of(record: Record, record_id: RecordId) -> JobId:
    """The job a record belongs to; b"" for fleet records. A Job record belongs to itself."""
    if record.KIND == "job":
        return record_id
    return getattr(record, "job", NOBODY)
