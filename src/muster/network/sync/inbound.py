"""What one neighbour has that is lacking here, and what to ask it next: a state machine, no clock, no link.

A neighbour numbers its records as they come to it, and counts the announcements that it makes here.  `cursor`
is the number up to which all of its records are dealt with.  An announcement that was lost shows in the count
of the next one; this gap is closed by asking for the changes since the cursor.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import TypeAlias

from muster.network.sync.messages import CHANGES_MAX, RECORDS_MAX, Announce, Changes

_COUNTS_REMEMBERED = 16

Has: TypeAlias = Callable[[bytes], bool]  # whether the record with this prefix is kept here, or was refused


@dataclass(frozen=True)
class AskChanges:
    """Ask for the list of what came to the neighbour after `cursor`."""

    incarnation: int
    cursor: int
    full_resync: bool


@dataclass(frozen=True)
class AskRecords:
    """Ask for these records, compressed or `in_full`."""

    prefixes: list[bytes]
    in_full: bool


@dataclass
class Inbound:
    """Changed by what a neighbour announces and answers; `next_request` says what to ask it."""

    incarnation: int = 0  # of the neighbour's store; 0: unknown
    cursor: int = 0
    wanted: dict[bytes, int] = field(default_factory=dict)  # prefix -> the neighbour's number, <= CHANGES_MAX
    request_full: set[bytes] = field(default_factory=set)  # of these, the ones that could not be decompressed
    synced_up_to: int = 0  # once `wanted` is empty the cursor may move to here
    gap: bool = True  # an announcement may be missing: the neighbour is to be asked for its changes
    unknown_author: bool = False  # of what is wanted: his Member record is behind the gap
    full_resync: bool = True  # nothing is known of the neighbour's records yet
    counts: deque[int] = field(default_factory=lambda: deque(maxlen=_COUNTS_REMEMBERED))  # seen, the newest

    def resume(self, incarnation: int, cursor: int) -> None:
        """Go on from where the last session ended."""
        self.incarnation, self.cursor, self.synced_up_to = incarnation, cursor, cursor
        self.full_resync = cursor == 0

    @property
    def incomplete(self) -> bool:
        """Whether there may be something to ask for."""
        return self.gap or bool(self.wanted)

    def on_damaged(self) -> None:
        """An announcement cannot be read: it is damaged, or of an incarnation that is not known here yet."""
        self.gap = True

    def on_announce(self, message: Announce, has: Has, *, understood: bool) -> None:
        """An announcement came; `understood`: each record inside it was taken in, or was known before."""
        self._check_count(message)
        if not understood:
            self._miss(message)
        for number, prefix in message.ids[:CHANGES_MAX]:
            self._want(number, prefix, has)
        if not self.gap:
            self.synced_up_to = max(self.synced_up_to, message.last)
        self._settle(has)

    def on_changes(self, changes: Changes, has: Has) -> bool:
        """The answer to `AskChanges` came. True: nothing is wanted, and the cursor is worth being stored."""
        if changes.incarnation != self.incarnation:
            self.begin_incarnation(changes.incarnation)
        elif self.went_back(changes):
            self.begin_incarnation(changes.incarnation)
            return False
        for number, prefix in changes.entries:
            self._want(number, prefix, has)
        self.synced_up_to = max(self.synced_up_to, changes.last)
        full = len(changes.entries) >= CHANGES_MAX
        self.gap = self._counted_up_to(changes.count) or full
        self.full_resync = self.full_resync and full
        self._settle(has)
        return not self.wanted

    def went_back(self, changes: Changes) -> bool:
        """Whether a neighbour now says less than it did: what it said before was wrong."""
        return changes.incarnation == self.incarnation and changes.last < self.cursor

    def on_records(
        self, asked: AskRecords, has: Has, *, empty: bool, misread: bool, unknown_author: bool
    ) -> None:
        """The answer to `AskRecords` came.

        `empty`: without a record; `misread`: one could not be decompressed, or not to what its author signed;
        `unknown_author`: nobody here knows the author of one."""
        if empty:  # the neighbour no longer has them
            for prefix in asked.prefixes:
                self.wanted.pop(prefix, None)
        self._settle(has)
        doubtful = asked.prefixes if misread else ()
        self.request_full = {p for p in (*self.request_full, *doubtful) if p in self.wanted}
        self.unknown_author = unknown_author

    def give_up(self, prefix: bytes) -> None:
        """What the neighbour has under this name is no record that can be kept."""
        self.wanted.pop(prefix, None)
        self.request_full.discard(prefix)

    def on_failure(self, *, unknown_author: bool) -> None:
        """A request came to nothing."""
        self.unknown_author = unknown_author

    def next_request(self, in_flight: Container[bytes], has: Has) -> AskChanges | AskRecords | None:
        """What to ask now, but for what is asked of some neighbour already; None: wait for news.

        Records are compressed as a rule.  Where an author was unknown, all are asked for in full: his
        certificate is among them, and what cannot be decompressed must not keep it waiting.
        """
        self._settle(has)
        if self.gap and (self.unknown_author or not self.wanted):
            self.unknown_author = False
            return AskChanges(self.incarnation, self.cursor, self.full_resync)
        ready = [prefix for prefix in self.wanted if prefix not in in_flight]
        if not ready:
            return None
        ready.sort(key=lambda prefix: self.wanted[prefix])  # a Member record stands before what it signed
        ready = ready[:RECORDS_MAX]
        full = ready if self.unknown_author else [prefix for prefix in ready if prefix in self.request_full]
        return AskRecords(full or ready, bool(full))

    def begin_incarnation(self, incarnation: int) -> None:
        """The neighbour's store is another one than last time: its numbers mean nothing any more."""
        self.incarnation, self.cursor, self.synced_up_to, self.gap = incarnation, 0, 0, True
        self.full_resync = True
        self.wanted.clear()
        self.counts.clear()

    def _want(self, number: int, prefix: bytes, has: Has) -> None:
        if has(prefix):
            return
        if len(self.wanted) < CHANGES_MAX:
            self.wanted[prefix] = number
        else:
            self.gap = True

    def _settle(self, has: Has) -> None:
        """Forget what came meanwhile from others; move the cursor when nothing is wanted."""
        for prefix in [prefix for prefix in self.wanted if has(prefix)]:
            del self.wanted[prefix]
        if not self.wanted:
            self.cursor = max(self.cursor, self.synced_up_to)

    def _check_count(self, message: Announce) -> None:
        """Notice that an announcement before this one was lost; one that comes again says nothing."""
        if message.count in self.counts:
            return
        before = message.count - 1 if message.has_records else message.count
        if before not in self.counts:
            self.gap = True
        self.counts.append(message.count)

    def _miss(self, message: Announce) -> None:
        """An announcement with a record that was not understood is as good as lost, also for a comparison
        that was asked for before it came."""
        self.gap = True
        with contextlib.suppress(ValueError):
            self.counts.remove(message.count)

    def _counted_up_to(self, count: int) -> bool:
        """A list of changes covers all announcements up to this one; whether a later one is missing."""
        later = [seen for seen in self.counts if 0 < seen - count <= _COUNTS_REMEMBERED]
        self.counts = deque([count, *sorted(later)], maxlen=_COUNTS_REMEMBERED)
        return bool(later) and max(later) - count != len(later)
