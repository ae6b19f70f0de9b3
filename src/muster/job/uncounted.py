"""The updates that a history does not count yet, kept up while updates come."""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass

from muster.history.counted import Counted, Key
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Update


@dataclass(frozen=True, slots=True)
class KnownUpdate:
    """An update and the neighbour that it came from (b"": it was made here)."""

    id: RecordId
    key: Key
    record: Update
    source: NodeId


class Uncounted:
    """Of one counted set, the last that was asked for: each of a round's updates joins what is known, or each
    would have all of them looked through."""

    def __init__(self) -> None:
        self._counted: Counted | None = None
        self._size = 0
        self._found: list[KnownUpdate] = []

    def by(self, counted: Counted, updates: Mapping[Key, KnownUpdate]) -> list[KnownUpdate]:
        """Those of `updates` that are not counted, in key order; not to be changed."""
        if self._counted is not counted or self._size != len(updates):
            self._counted, self._size = counted, len(updates)
            self._found = [updates[k] for k in sorted(k for k in updates if k not in counted)]
        return self._found

    def note(self, update: KnownUpdate, updates: Mapping[Key, KnownUpdate]) -> None:
        """`update` joins `updates` after this call, or takes the place of one there."""
        if self._counted is None or self._size != len(updates) or update.key in updates:
            self._counted = None
            return
        self._size += 1
        if update.key not in self._counted:
            self._found = self._found.copy()  # who asked before goes on with what it had
            insort(self._found, update, key=lambda u: u.key)
