"""Which kept records a neighbour is likely to hold too, and a new record to repeat."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator

import msgspec

from muster.network.sync.record_compression.dictionary import HeldRecord
from muster.network.sync.record_compression.inline_payload import Body, tag_of
from muster.protocol.envelope import unpack
from muster.protocol.ids import CommitId, JobId, NodeId, RecordId
from muster.protocol.records import (
    Commit,
    Job,
    Measurement,
    Member,
    Merge,
    Offer,
    Plan,
    Refusal,
    Stop,
    Update,
)
from muster.protocol.versions import Received
from muster.storage.store import Store

CACHED_MAX = 128  # records that are kept at hand
MERGES_MAX = 16  # in a row, that are looked through
_PLAN, _COMMIT, _MERGE = tag_of(Plan), tag_of(Commit), tag_of(Merge)
_ON_A_COMMIT = {tag_of(Plan), tag_of(Update), tag_of(Measurement)}
_ON_A_JOB = {tag_of(Offer), tag_of(Refusal), tag_of(Stop)}
_JOB_AT, _COMMIT_AT = 1, 2  # in a body; in that of a commit its parents, in that of a merge, too

_decode = msgspec.msgpack.Decoder().decode


class References:
    """Looks records up in one store; every new one must be noted."""

    def __init__(self, store: Store, node: NodeId, left_out: Container[RecordId] = ()) -> None:
        self._store, self._node, self._left_out = store, node, left_out
        self._held: OrderedDict[RecordId, HeldRecord] = OrderedDict()
        # the newest two plans, the newest last: of a plan itself the one before it is wanted
        self._plans: OrderedDict[tuple[NodeId, JobId], tuple[RecordId, ...]] = OrderedDict()
        self._members: dict[NodeId, RecordId] = {}

    def note(self, record_id: RecordId, author: NodeId, record: Received) -> None:
        """A record is kept from now on."""
        if isinstance(record, Member):
            self._members[author] = record_id
        elif isinstance(record, Plan):
            key = author, record.job
            self._plans[key] = (*self._plans.get(key, ())[-1:], record_id)
            self._plans.move_to_end(key)
            if len(self._plans) > CACHED_MAX:
                self._plans.popitem(last=False)

    def held(self, record_id: RecordId) -> HeldRecord | None:
        """A kept record."""
        known = self._held.get(record_id)
        if known is not None:
            self._held.move_to_end(record_id)
            return known
        stored = self._store.get(record_id) if record_id not in self._left_out else None
        if stored is None:
            return None
        signed = unpack(stored.wire)
        found = self._held[record_id] = HeldRecord(record_id, signed.author, signed.body)
        if len(self._held) > CACHED_MAX:
            self._held.popitem(last=False)
        return found

    def likely(self, own: RecordId, author: NodeId, body: Body) -> list[HeldRecord]:
        """For a record with the id `own`: others that are kept here, the most useful first."""
        found = [self.held(record_id) for record_id in self._likely(own, author, body) if record_id != own]
        return [held for held in found if held is not None]

    def _likely(self, own: RecordId, author: NodeId, body: Body) -> Iterator[RecordId]:
        tag = body[0]
        if tag in _ON_A_COMMIT:
            commit = self._first_of_line(body[_COMMIT_AT])
            yield commit
            plans = self._plans.get((author, body[_JOB_AT]), ()) if tag == _PLAN else ()
            earlier = [plan for plan in plans if plan != own]
            if earlier:
                yield earlier[-1]
            elif (held := self.held(commit)) is None or author not in held.body:
                yield from self._member(author)
        elif tag == _COMMIT:
            yield self._first_of_line(body[_COMMIT_AT][0]) if body[_COMMIT_AT] else body[_JOB_AT]
        elif tag in _ON_A_JOB:
            yield body[_JOB_AT]
            yield from self._member(author)
        elif tag == tag_of(Job):
            yield from self._member(author)
        elif tag == tag_of(Member):  # all certificates of a fleet are alike
            yield from self._member(self._node)

    def _member(self, author: NodeId) -> Iterator[RecordId]:
        if (member := self._members.get(author)) is not None:
            yield member

    def _first_of_line(self, commit: CommitId) -> CommitId:
        """The commit itself; of a merge, which says nothing but its parents, the first that is none."""
        for _ in range(MERGES_MAX):
            held = self.held(commit)
            if held is None:
                return commit
            body = _decode(held.body)
            if body[0] != _MERGE:
                return commit
            commit = body[_COMMIT_AT][0]
        return commit
