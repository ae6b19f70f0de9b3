"""Planted bugs of what nodes of two versions say to each other."""

from __future__ import annotations

from typing import Any

from planting import Patch, bug

from muster.network.sync.later import LaterRecords
from muster.network.sync.ledger import Ledger
from muster.protocol.versions import Unknown
from muster.protocol.vocabulary import RecordError, Vocabulary


@bug("a kind of record that is not known is refused, so that nobody behind that node hears of it")
def unknown_kinds_refused() -> list[Patch]:
    real = Vocabulary.read

    def read(self: Vocabulary, body: bytes, needed: int) -> Any:
        record = real(self, body, needed)
        if isinstance(record, Unknown):
            raise RecordError("a kind that is not known here")
        return record

    return [(Vocabulary, "read", read)]


@bug("a node acts on a record that says that a later version must understand it")
def needs_passed_over() -> list[Patch]:
    real = Vocabulary.read
    return [(Vocabulary, "read", lambda self, body, needed: real(self, body, min(needed, self.version)))]


@bug("nobody is told of records that are kept without being acted on")
def nothing_said_of_later_records() -> list[Patch]:
    return [(LaterRecords, "note", lambda self, author, record: False)]


@bug("a node that was updated goes on without what it kept before and would understand now")
def kept_as_unknown() -> list[Patch]:
    return [(Ledger, "_name_again", lambda self, stored, record: None)]
