"""Of the needs and uses of a node only the newest with each task is kept, on every node.

What a node says of its tasks now replaces what it said before, so the older record is deleted wherever the
newer one comes, and not taken where it comes later. Which one is newer is a property of the two records, so
nodes agree whatever the order in which they hear of them. With a node that is revoked go all of its.

Of records of a later version that belong to no job nothing says which is newer: of each author those are kept
that came last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from muster.network.sync.messages import PREFIX_BYTES
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Need, Revocation, Use
from muster.protocol.versions import Received, Unknown

KINDS = (Need.KIND, Use.KIND)
TASKS_MAX = 64  # of one node, of each kind: those of which it spoke last
UNKNOWN_MAX = 256  # records of a later version by one author that belong to no job
OUTDATED_IDS_MAX = 4096

Newness: TypeAlias = tuple[int, int, RecordId]


def newness(record_id: RecordId, record: Need | Use) -> Newness:
    """The order of a node's records. Numbers go on over its incarnations, as far as it knows them; of two
    with the same number any may win, as long as it is the same one everywhere."""
    return record.number, record.incarnation, record_id


@dataclass
class NewestRecords:
    """What is kept: of each author and kind, by task."""

    _kept: dict[tuple[NodeId, str], dict[str, Newness]] = field(default_factory=dict)
    _unknown: dict[NodeId, dict[RecordId, None]] = field(default_factory=dict)  # as they came
    _outdated: dict[bytes, None] = field(default_factory=dict)  # the first bytes of the last ids that went

    def replaces(self, record_id: RecordId, author: NodeId, record: Received) -> list[RecordId] | None:
        """The kept records that go when this one is kept; None: a newer one is there."""
        if isinstance(record, Revocation):
            kinds = (self._kept.get((record.node, kind), {}) for kind in KINDS)
            return [known[2] for kept in kinds for known in kept.values()]
        if isinstance(record, Unknown) and not record.job:
            unknown = self._unknown.get(author, {})
            full = len(unknown) >= UNKNOWN_MAX and record_id not in unknown
            return [next(iter(unknown))] if full else []
        if not isinstance(record, Need | Use):
            return []
        kept, new = self._kept.get((author, record.KIND), {}), newness(record_id, record)
        known = kept.get(record.task)
        if known is not None:
            return None if new < known else [known[2]] if new > known else []
        if len(kept) < TASKS_MAX:
            return []
        oldest = min(kept.values())
        return None if new < oldest else [oldest[2]]

    def keep(self, record_id: RecordId, author: NodeId, record: Received) -> None:
        """A record is kept now, and what it `replaces` is not."""
        for gone in self.replaces(record_id, author, record) or ():
            self.note_outdated(gone)
            self._unknown.get(author, {}).pop(gone, None)
        if isinstance(record, Unknown) and not record.job:
            self._unknown.setdefault(author, {})[record_id] = None
        if isinstance(record, Revocation):
            for kind in KINDS:
                self._kept.pop((record.node, kind), None)
        elif isinstance(record, Need | Use):
            kept = self._kept.setdefault((author, record.KIND), {})
            if record.task not in kept and len(kept) >= TASKS_MAX:
                del kept[min(kept, key=kept.__getitem__)]
            kept[record.task] = newness(record_id, record)

    def note_outdated(self, record_id: RecordId) -> None:
        """It is not to be asked for again."""
        self._outdated[record_id[:PREFIX_BYTES]] = None
        while len(self._outdated) > OUTDATED_IDS_MAX:
            del self._outdated[next(iter(self._outdated))]

    def outdated(self, prefix: bytes) -> bool:
        """Whether a newer one is kept in the place of the record whose id begins so."""
        return prefix in self._outdated
