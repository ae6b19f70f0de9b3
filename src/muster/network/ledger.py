"""The ledger: every record goes through here on its way in, whoever made it.

Verify, keep durably, then tell the listeners (the job layer; the exchange with neighbours).  A record by an
unknown or revoked author is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from muster.records import (
    NOBODY,
    JobId,
    Member,
    NodeId,
    Record,
    RecordError,
    RecordId,
    Revocation,
    decode,
    unpack,
)
from muster.storage.store import Store


class UnknownAuthor(Exception):
    """The author's membership record is not here yet: ask for it first."""


class Trust(Protocol):
    """Signing and verifying, injected: Ed25519 in `identity`, a cheap stand-in in the simulation."""

    node: NodeId

    def seal(self, record: Record) -> tuple[RecordId, bytes]:
        """Sign a record as this node (a Merge is sealed unsigned); id and packed envelope."""

    def open(self, wire: bytes) -> tuple[RecordId, NodeId, Record]:
        """Verify and unpack (a Member by the certificate in it). Raises RecordError, or UnknownAuthor."""

    def admit(self, member: Member) -> NodeId:
        """Learn a member of the fleet from its certificate. Raises RecordError for a stranger."""

    def revoke(self, revocation: Revocation) -> None: ...


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


@dataclass
class Ledger:
    """The records of one node."""

    store: Store
    trust: Trust
    listeners: list[Listener] = field(default_factory=list)
    refusals: Refusals = field(default_factory=Refusals)

    def publish(self, record: Record) -> RecordId:
        """Sign and keep a record made here, then announce it. Durable when this returns."""
        record_id, wire = self.trust.seal(record)
        self._keep(record_id, self.trust.node, record, wire, b"")
        return record_id

    def keep_unannounced(self, record: Record) -> tuple[RecordId, Callable[[], None]]:
        """Keep a record inside the caller's transaction; call what is returned after it to announce."""
        record_id, wire = self.trust.seal(record)
        sequence = self.store.add(record_id, record.KIND, job_of(record, record_id), wire, b"")

        def announce() -> None:
            if sequence is not None:
                self._tell(Entry(record_id, self.trust.node, record, b"", sequence, len(wire)))

        return record_id, announce

    def receive(self, wire: bytes, source: NodeId) -> RecordId | None:
        """Take in a record from a neighbour; None when it was refused. Raises UnknownAuthor."""
        try:
            record_id, author, record = self.trust.open(wire)
        except UnknownAuthor:
            self.refusals.unknown_author += 1
            raise
        except RecordError as error:
            self.refusals.invalid += 1
            self.refusals.last = str(error)
            return None
        self._keep(record_id, author, record, wire, source)
        return record_id

    def replay(self) -> None:
        """After a start: learn members and revocations from what is kept (listeners load the rest)."""
        for kind in (Member.KIND, Revocation.KIND):
            for stored in self.store.select(kind):
                self._learn(decode(unpack(stored.wire).body))

    def load(self, kind: str, job: JobId | None = None) -> list[Entry]:
        """Kept records of one kind, in the order in which they came; they were verified on the way in."""
        entries = []
        for stored in self.store.select(kind, job):
            signed = unpack(stored.wire)
            entries.append(
                Entry(
                    stored.id, signed.author, decode(signed.body), stored.source, stored.sequence,
                    len(stored.wire),
                )  # fmt: skip
            )
        return entries

    def _keep(self, record_id: RecordId, author: NodeId, record: Record, wire: bytes, source: NodeId) -> None:
        try:
            self._learn(record)
        except RecordError as error:
            self.refusals.invalid += 1
            self.refusals.last = str(error)
            return
        sequence = self.store.add(record_id, record.KIND, job_of(record, record_id), wire, source)
        if sequence is not None:
            self._tell(Entry(record_id, author, record, source, sequence, len(wire)))

    def _learn(self, record: Record) -> None:
        if isinstance(record, Member):
            self.trust.admit(record)
        elif isinstance(record, Revocation):
            self.trust.revoke(record)

    def _tell(self, entry: Entry) -> None:
        for listener in self.listeners:
            listener(entry)


def job_of(record: Record, record_id: RecordId) -> JobId:
    """The job a record belongs to; b"" for fleet records. A Job record belongs to itself."""
    if record.KIND == "job":
        return record_id
    return getattr(record, "job", NOBODY)
