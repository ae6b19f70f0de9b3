"""Records that one neighbour hears of later: on a narrow link most kinds, on every link large updates.

Another node's update is wanted by whoever coordinates, and by nobody once it is counted.  What is deferred is
announced when its time is over, unless it is obsolete by then, so that a neighbour hears of everything that
still matters; which time that is does not matter for correctness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from muster.network.sync.ledger import Entry
from muster.network.sync.messages import CHANGES_MAX
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Update
from muster.protocol.versions import Received

LARGE_BYTES = 1200  # of an update's record: a payload of a kilobyte inside. It costs a link's time elsewhere
WIDE_DELAY_S = 10.0  # at most, on a link that is not narrow: some rounds
RELEASED_S = 600.0  # by then an announcement that was lost has shown, or the session is over


@dataclass(frozen=True)
class Deferral:
    """Only the neighbour `towards` needs the record now; the others hear of it after `delay_s`."""

    towards: NodeId  # b"": nobody
    delay_s: float


class Forwarding(Protocol):
    """Who needs which record; answered by what knows the jobs."""

    def defer(self, author: NodeId, record: Received) -> Deferral | None:
        """None: whoever lacks it hears of it at once."""

    def obsolete(self, author: NodeId, record: Received) -> bool:
        """Whether nobody will ever need it, since something else stands for it."""

    def unacknowledged(self, *, had_deferred: bool) -> list[RecordId]:
        """Records that are still to be dealt with and may have been deferred for some neighbour;
        `had_deferred`: for a neighbour for which something is known to have been."""


class DeferralRule:
    """Until when a record is deferred for a neighbour, by who needs it and by what the links bear."""

    def __init__(
        self,
        forwarding: Forwarding,
        *,
        narrow: Callable[[NodeId], bool],
        in_reach: Callable[[NodeId], bool],
    ) -> None:
        self._forwarding, self._narrow, self._in_reach = forwarding, narrow, in_reach

    def costly(self, node: NodeId, kind: str, size_bytes: int) -> bool:
        """Whether a record is one that may be deferred for this neighbour at all."""
        return self._narrow(node) or (kind == Update.KIND and size_bytes > LARGE_BYTES)

    def until_s(self, node: NodeId, entry: Entry, now_s: float) -> float | None:
        """When the neighbour is to hear of a costly record; None: now."""
        deferral = self._forwarding.defer(entry.author, entry.record)
        if deferral is None or deferral.towards == node:
            return None
        if deferral.towards != b"" and not self._in_reach(deferral.towards):
            return None  # whoever needs it is not reached directly any more: tell everybody
        return now_s + (deferral.delay_s if self._narrow(node) else min(WIDE_DELAY_S, deferral.delay_s))

    def obsolete(self, entry: Entry) -> bool:
        return self._forwarding.obsolete(entry.author, entry.record)

    def unacknowledged(self, *, had_deferred: bool) -> list[RecordId]:
        return self._forwarding.unacknowledged(had_deferred=had_deferred)[:CHANGES_MAX]


@dataclass
class DeferredRecords:
    """What waits for one neighbour, and what has waited."""

    waiting: dict[RecordId, tuple[float, Entry]] = field(default_factory=dict)  # until when, what
    released: dict[RecordId, tuple[float, Entry]] = field(default_factory=dict)  # when, what
    any_ever: bool = False  # something was deferred, in this session or in an earlier one

    def add(self, entry: Entry, until_s: float) -> bool:
        """Defer a record, if there is room for one more."""
        if len(self.waiting) >= CHANGES_MAX:
            return False
        self.waiting[entry.id] = (until_s, entry)
        return True

    def release(self, now_s: float, rule: DeferralRule, node: NodeId) -> list[Entry]:
        """Take out what has waited long enough, or is needed here now; forget what is obsolete."""
        due = []
        for entry_id, (until_s, entry) in list(self.waiting.items()):
            if rule.obsolete(entry):
                del self.waiting[entry_id]
            elif until_s <= now_s or rule.until_s(node, entry, now_s) is None:
                del self.waiting[entry_id]
                self.released[entry_id] = now_s, entry
                due.append(entry)
        for entry_id, (released_s, _) in list(self.released.items()):  # oldest first
            if len(self.released) <= CHANGES_MAX and released_s > now_s - RELEASED_S:
                break
            del self.released[entry_id]
        return due

    def behind(self, cursor: int, rule: DeferralRule) -> list[Entry]:
        """What was released after the neighbour's cursor had passed it, and still matters."""
        late = [entry for _, entry in self.released.values() if entry.sequence <= cursor]
        return [entry for entry in late if not rule.obsolete(entry)]

    def next_s(self) -> float | None:
        """When the next one is due."""
        return min((until_s for until_s, _ in self.waiting.values()), default=None)
