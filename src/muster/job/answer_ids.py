"""Ids of what nodes answered in a job, for whoever has only the records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from muster.network.sync.ledger import Entry
from muster.protocol.envelope import id_of
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Contribution, Measurement, Offer, Refusal, Shared

Answer: TypeAlias = Offer | Refusal | Shared | Measurement | Contribution


@dataclass
class AnswerIds:
    """An id follows from author and record; those of records with fields of a later version are noted."""

    _grown: dict[tuple[NodeId, Answer], RecordId] = field(default_factory=dict)

    def note(self, entry: Entry) -> None:
        """A record is known from now on."""
        record, author = entry.record, entry.author
        if isinstance(record, Answer) and id_of(author, record) != entry.id:
            self._grown[author, record] = entry.id

    def of(self, author: NodeId, record: Answer) -> RecordId:
        """The id of a record that was noted."""
        return self._grown.get((author, record)) or id_of(author, record)

    def newness(self, author: NodeId, answer: Offer | Refusal | Shared) -> tuple[int, int, RecordId]:
        """The order of a node's answers. Numbers go on over its incarnations, as far as it knows them; of two
        with the same number any may win, as long as it is the same one everywhere."""
        return (answer.number, answer.incarnation, self.of(author, answer))
