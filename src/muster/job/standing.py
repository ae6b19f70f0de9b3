"""Which records of revoked members count in one job.

A commit counts when somebody who is no revoked member built on it (committed, trained or planned on it, or
on what follows from it), or when the revocation names it; anything else only when the revocation names it.
A record's id can be neither forged nor dated back, unlike a number that the lost key can sign.

What counts is a property of the set of records that are known, whatever the order in which they came.
Whoever has a lost key gets a commit into the history if a node builds on it that has not heard of the
revocation: that is right, since others build on that node's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from muster.network.sync.ledger import Entry, Ledger
from muster.protocol.ids import NOBODY, CommitId, NodeId, RecordId
from muster.protocol.records import Commit, Job, Merge, Plan, Update
from muster.protocol.versions import Received

_LOOKED_AT = 250  # records of a kind, for whether others took part in a job


@dataclass
class Standing:
    """Lets the records of one job pass that count, as they come. `me` is never revoked for itself: it knows
    by `out` that it takes no part."""

    me: NodeId = NOBODY
    authority: NodeId = NOBODY
    out: Callable[[NodeId], bool] = lambda node: False  # whether a member is revoked
    named: Callable[[RecordId], bool] = lambda record: False  # whether a revocation names a record
    _authors: set[NodeId] = field(default_factory=set)
    _built_on: set[CommitId] = field(default_factory=set)
    _aside: dict[CommitId, Entry] = field(default_factory=dict)  # commits on which nobody built yet
    _merges: dict[CommitId, tuple[CommitId, ...]] = field(default_factory=dict)

    def concerns(self, node: NodeId) -> bool:
        """Whether a node made any record of the job."""
        return node in self._authors

    def admit(self, entry: Entry) -> list[Entry]:
        """The records that count now that this one came: itself, as a rule, and those that it builds on."""
        record, author = entry.record, entry.author
        self._authors.add(author)
        if isinstance(record, Merge):  # anybody can make it: its parents count when what follows it does
            self._merges[entry.id] = record.parents
            return [entry, *(self._build_on(record.parents) if entry.id in self._built_on else ())]
        if author != self.me and self.out(author):
            if not (entry.id in self._built_on or self.named(entry.id)):
                if isinstance(record, Commit):
                    self._aside[entry.id] = entry
                return []
            return [entry, *(self._build_on(record.parents) if isinstance(record, Commit) else ())]
        return [entry, *self._build_on(_bases(record))]

    def may_stop(self, author: NodeId, asker: NodeId, job: Job) -> bool:
        """Whether a node may end the job: its asker, the fleet's owner, or whom the job names."""
        return author in (asker, self.authority, *job.stoppers)

    def _build_on(self, commits: Iterable[CommitId]) -> list[Entry]:
        """The commits that were set aside and count now, as these do."""
        found, stack = [], list(commits)
        while stack:
            commit = stack.pop()
            if commit in self._built_on:
                continue
            self._built_on.add(commit)
            entry = self._aside.pop(commit, None)
            if entry is not None and isinstance(entry.record, Commit):
                found.append(entry)
                stack += entry.record.parents
            stack += self._merges.get(commit, ())
        return found


def _bases(record: Received) -> tuple[CommitId, ...]:
    """The commits on which a record was made."""
    if isinstance(record, Commit):
        return record.parents
    if isinstance(record, Update):
        return (record.base,)
    return (record.parent,) if isinstance(record, Plan) else ()


def job_stands(ledger: Ledger, entry: Entry) -> bool:
    """Whether a job counts: its asker was not revoked, or others took part, or the revocation names it."""
    trust, me = ledger.trust, ledger.signer.node
    if entry.author == me or not trust.revoked(entry.author) or trust.stands(entry.id):
        return True
    for kind in ("offer", "update", "commit", "plan"):
        found = ledger.load_slice(kind, entry.id, 0, _LOOKED_AT)
        if found is not None and any(not trust.revoked(other.author) for other in found[0]):
            return True
    return False


def may_stop_sentence(name: str, asker: str) -> str:
    """Why a node may not end a job."""
    return (
        f"{name} may not stop this job: {asker} asked for it, and it names nobody else who may; the fleet's "
        "owner can ('muster stop JOB --as-owner')"
    )
