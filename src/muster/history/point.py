"""A commit or merge of a graph, with what is derived of the history that ends with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from muster.history.counted import Counted
from muster.history.state import State
from muster.protocol.ids import BlobId, CommitId, NodeId
from muster.protocol.parts import Folded, Spent
from muster.protocol.records import Commit, Merge


class Recall(Protocol):
    """Gives back what is not kept with each point (history/at_hand.py)."""

    def record(self, point: Point) -> Commit | Merge: ...

    def state(self, point: Point) -> State: ...


@dataclass(frozen=True, slots=True)
class Point:
    """What is known of one commit or merge.

    A job has thousands, so a point keeps what all walks over a history look at; its record and its state are
    recalled, which is fast for recent points and for neighbours of one that was just looked at.

    `shape`: the channels that its model keeps, as in `Commit`; b"": all.  None: a merge of branches that were
    pruned apart, whose shape follows from their parameters.
    """

    id: CommitId
    parents: tuple[CommitId, ...]
    author: NodeId  # NOBODY for a merge
    round: int
    updates: int  # that it counts
    stand_ins: int  # of these, trained on the samples of others
    roster: tuple[NodeId, ...]  # asker first, then by first offer; the parent's own, where nobody joined
    age_s: float
    params: BlobId  # b"" for a merge, as are the bytes 0
    params_bytes: int
    delta_blob: BlobId | None  # with its change, where that is not inside the record
    shape: bytes | None
    recall: Recall = field(repr=False, compare=False)

    @property
    def is_merge(self) -> bool:
        return len(self.parents) == 2

    @property
    def record(self) -> Commit | Merge:
        return self.recall.record(self)

    @property
    def folded(self) -> tuple[Folded, ...]:
        record = self.record if self.updates else None
        return record.folded if isinstance(record, Commit) else ()

    @property
    def counted(self) -> Counted:
        """All updates that its history counts."""
        return self.recall.state(self).counted

    @property
    def spent(self) -> tuple[Spent, ...]:
        """What each node spent in its history, sorted by node."""
        return self.recall.state(self).rows
