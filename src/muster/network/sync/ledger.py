"""Every record goes through the ledger when it comes to a node, whoever made it.

The ledger verifies it, checks that it is within its limits (`admission`), keeps it durably, then tells the
listeners (the jobs; the exchange with neighbours).  A record by an unknown author is dropped and counted.
Those of a revoked author go on spreading, up to a limit, since others may have built on them: what counts of
them is the jobs' affair (`job/standing.py`).  One beyond its limits is refused, and its author named once.
What an earlier version kept is checked at the first start with other rules: a record beyond its limits stays
in the store, and nobody is given it (`quarantined`).
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

from muster.errors import MusterError
from muster.network.sync import noted
from muster.network.sync.admission import RULES, Admission, InvalidRecord
from muster.network.sync.kept import Entry as Entry
from muster.network.sync.kept import KeptRecords
from muster.network.sync.kept import job_of as job_of
from muster.network.sync.later import LaterRecords
from muster.network.sync.newest import KINDS, NewestRecords
from muster.network.trust.signing import Signer, TrustStore, UnknownAuthor, seal
from muster.protocol.envelope import RecordError
from muster.protocol.ids import NOBODY, JobId, NodeId, RecordId
from muster.protocol.records import Commit, Member, Need, Record, Revocation, Use
from muster.protocol.versions import Received, Unknown
from muster.storage.store import StorageError, Store, StoredRecord

LATE_BYTES_MAX = 64 << 20  # of records of one revoked author that come after its revocation
PAGE = 1000  # records that are read at once at a start


Listener = Callable[[Entry], None]


def _raise(what: str, error: Exception) -> None:
    raise error


class Ledger(KeptRecords):
    """Makes, takes in and loads the records of one node."""

    def __init__(
        self,
        store: Store,
        signer: Signer,
        trust: TrustStore,
        *,
        on_problem: Callable[[str], None] = lambda sentence: None,
        on_fault: Callable[[str, Exception], None] = _raise,
    ) -> None:
        """`on_problem` gets a sentence, once each, about whose records are refused why; `on_fault` what a
        listener raised."""
        super().__init__(store, trust, on_problem)
        self.signer, self.on_fault = signer, on_fault
        self.listeners: list[Listener] = []
        self.removal_listeners: list[Callable[[RecordId], None]] = []
        self.removals = noted.removals(store)
        self._newest = NewestRecords()
        self.later = LaterRecords(trust.vocabulary.version, trust.name)
        self._in_batch = False
        self._late_bytes: Counter[NodeId] = Counter()  # of revoked authors, since this process knows it
        self._news: list[Entry] = []  # that listeners are still to hear of, and what was removed
        self._removed: list[RecordId] = []
        self._rules = [RULES, trust.vocabulary.version]  # by which kept records were checked
        self.understood: set[JobId] = set()  # jobs with records that an earlier version kept without acting
        # what is wrong with a commit by its job's history, as far as that is at hand: the jobs say it
        self.history_fault: Callable[[Commit, NodeId], str | None] = lambda commit, author: None
        self._admission = Admission(
            self._find, self._asker_of, trust.vocabulary, lambda c, author: self.history_fault(c, author)
        )

    def publish(self, record: Record) -> RecordId:
        """Sign and keep a record made here, then announce it. Durable when this returns.

        Raises InvalidRecord, as `keep_unannounced` does."""
        record_id, wire = self._seal(record)
        if isinstance(record, Member):
            self.trust.verify(wire)
        self._keep(record_id, self.signer.node, record, wire, b"")
        return record_id

    def keep_unannounced(self, record: Record) -> tuple[RecordId, Callable[[], None]]:
        """Keep a record inside the caller's transaction; call what is returned after it to announce."""
        record_id, wire = self._seal(record)
        sequence = self.store.add(record_id, record.KIND, job_of(record, record_id), wire, b"")

        def announce() -> None:
            if sequence is not None:
                self._tell(Entry(record_id, self.signer.node, record, b"", sequence, len(wire)))

        return record_id, announce

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Keep what is received inside in one transaction, with one sync of the disk; listeners hear then.

        All or nothing: raises StorageError with nothing kept. Never `await` inside."""
        self._in_batch = True
        try:
            with self.store.transaction():
                yield
        except BaseException:
            self._news, self._removed = [], []
            self._read_newest()
            raise
        finally:
            self._in_batch = False
        self._tell_all()

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
        fault = self._admission.fault(record, author) or self._late_fault(record_id, record, author, wire)
        if fault is not None:
            self._refuse(record_id, author, fault)
            return None
        self._keep(record_id, author, record, wire, source)
        return record_id

    def refused(self, prefix: bytes) -> bool:
        """Whether the record whose id begins so was refused: it is not to be asked for again."""
        return prefix in self.refusals.ids

    def outdated(self, prefix: bytes) -> bool:
        """Whether a newer one is kept in the place of the record whose id begins so."""
        return self._newest.outdated(prefix)

    def replay(self) -> None:
        """After a start: check what is kept and was not checked before by the same rules, learn members and
        revocations (listeners load the rest)."""
        after, aside = noted.checked(self.store, self._rules)
        self.quarantined.update(aside)
        if aside:
            self._on_problem(f"{len(aside)} kept records are set aside, as at the last start")
        while page := self.store.since(after, PAGE):
            with contextlib.suppress(StorageError), self.store.transaction():
                for stored in page:
                    self._check_kept(stored)
            after = page[-1].sequence
        self.note_checked()
        for kind in (Member.KIND, Revocation.KIND):
            for stored in self.store.select(kind):
                if stored.id in self.quarantined:
                    continue
                try:
                    self.trust.verify(stored.wire)
                except (RecordError, MusterError) as error:
                    self._quarantine(stored.id, NOBODY, str(error))

        self._read_newest()
        self._read_later()

    def _read_later(self) -> None:
        """What is kept and cannot be acted on, after a start."""
        after = 0
        while (found := self.load_slice(Unknown.KIND, None, after, PAGE)) is not None:
            for entry in found[0]:
                self._note_later(entry.author, entry.record)
            after = found[1]

    def _read_newest(self) -> None:
        """Which needs and uses are the newest that are kept, after a start or when a batch was undone."""
        self._newest = NewestRecords()
        for entry in (*(e for kind in KINDS for e in self.load(kind)), *self.load(Unknown.KIND, NOBODY)):
            self._newest.keep(entry.id, entry.author, entry.record)

    def note_checked(self) -> None:
        """All that is kept now was checked: the next start need not."""
        noted.note_checked(self.store, self._rules, self.quarantined)

    def _late_fault(self, record_id: RecordId, record: Received, author: NodeId, wire: bytes) -> str | None:
        """Why a record of a revoked member is not kept, or None."""
        if not self.trust.revoked(author) or author == self.signer.node:
            return None
        if isinstance(record, Need | Use):
            return f"its author was revoked: {self.trust.why_revoked(author)}"
        if self.store.get(record_id) is None:
            self._late_bytes[author] += len(wire)
        if self._late_bytes[author] > LATE_BYTES_MAX:
            return "its author was revoked, and too much came of it since"
        return None

    def _seal(self, record: Record) -> tuple[RecordId, bytes]:
        fault = self._admission.fault(record, self.signer.node)
        if fault is not None:
            raise InvalidRecord(f"this node itself made a record that nobody takes: {fault}")
        return seal(self.signer, record, self.trust.vocabulary)

    def _check_kept(self, stored: StoredRecord) -> None:
        author = NOBODY
        try:
            author, record = self._read(stored.wire)
            fault = self._admission.fault(record, author)
            self._name_again(stored, record)
        except RecordError as error:
            fault = str(error)
        if fault is not None:
            self._quarantine(stored.id, author, fault)

    def _name_again(self, stored: StoredRecord, record: Received) -> None:
        """What another version of Muster kept under the name that it knew gets the one that holds here."""
        kind, job = record.KIND, job_of(record, stored.id)
        if (kind, job) != (stored.kind, stored.job):
            self.store.rename(stored.id, kind, job)
            self.understood.add(job)

    def _refuse(self, record_id: RecordId, author: NodeId, reason: str) -> None:
        self.refusals.add(record_id)
        if self.refusals.count(author, reason):
            self._on_problem(f"{self.trust.name(author)} made a record that is refused: {reason}")

    def _keep(
        self, record_id: RecordId, author: NodeId, record: Received, wire: bytes, source: NodeId
    ) -> None:
        replaced = self._newest.replaces(record_id, author, record)
        if replaced is None:
            self._newest.note_outdated(record_id)
            return
        with self.store.transaction() if replaced else contextlib.nullcontext():
            sequence = self.store.add(record_id, record.KIND, job_of(record, record_id), wire, source)
            if replaced:
                self.store.remove(replaced)
                noted.note_removals(self.store, self.removals + len(replaced))
        if sequence is None:
            return
        self.removals += len(replaced)
        self._newest.keep(record_id, author, record)
        self._note_later(author, record)
        self._news.append(Entry(record_id, author, record, source, sequence, len(wire)))
        self._removed += replaced
        if not self._in_batch:
            self._tell_all()

    def _note_later(self, author: NodeId, record: Received) -> None:
        if isinstance(record, Unknown) and self.later.note(author, record):
            self._on_problem(self.later.sentence(author))

    def _tell_all(self) -> None:
        """Tell the listeners what was kept, then what was removed."""
        news, self._news = self._news, []
        removed, self._removed = self._removed, []
        for entry in news:
            self._tell(entry)
        for gone in removed:
            for listener in self.removal_listeners:
                try:
                    listener(gone)
                except Exception as error:
                    self.on_fault("telling that a record was removed", error)

    def _tell(self, entry: Entry) -> None:
        for listener in self.listeners:
            try:
                listener(entry)
            except Exception as error:  # it is kept, and the other listeners are to know of it
                self.on_fault("telling of a record", error)
