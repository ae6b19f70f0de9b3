"""What a neighbour does not need now is held back on a narrow link, large updates on every link; it is told
later if it still matters.

Another node's update is wanted by whoever coordinates, and by nobody once it is counted.  What is held back
is announced when its time is over, so that a neighbour hears of everything that still matters; which time
that is is no matter of correctness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from muster.network.sync.ledger import Entry
from muster.network.sync.state import CHANGES_MAX, Peer, SyncContext, entry_of, loop_time_s
from muster.protocol.records import NodeId, Record, Update
from muster.storage.store import StoredRecord

LARGE_BYTES = 1200  # of an update's record: a payload of a kilobyte inside. Elsewhere it costs a link's time
WIDE_HOLD_S = 10.0  # at most, on a link that is not narrow: some rounds
RELEASED_S = 600.0  # by then an announcement that was lost has shown, or the session is over


@dataclass(frozen=True)
class Hold:
    """A record that only the neighbour `towards` needs now; the others hear of it after `hold_s`."""

    towards: NodeId  # b"": nobody
    hold_s: float


class Forwarding(Protocol):
    """What is known, above, of who needs which record."""

    def defer(self, author: NodeId, record: Record) -> Hold | None:
        """None: whoever lacks it is told at once."""

    def obsolete(self, author: NodeId, record: Record) -> bool:
        """Whether nobody will ever need it, since something else stands for it."""

    def unacknowledged(self, *, had_deferred: bool) -> list[bytes]:
        """Ids of records that are still to be dealt with and may have been held back from somebody;
        `had_deferred`: from a neighbour of whom it is known that something was."""


class DeferredRecords:
    """`interest` is set by whoever knows what records are for; until then nothing is held back."""

    def __init__(self, shared: SyncContext) -> None:
        self.interest: Forwarding | None = None
        self._shared, self._store = shared, shared.store

    def hold_back(self, peer: Peer, entry: Entry) -> bool:
        """Whether the neighbour is to hear of it later only."""
        if not self._costly(peer.node, entry.record.KIND, entry.size_bytes):
            return False
        until_s = self._held_until_s(peer, entry, loop_time_s())
        if until_s is None or len(peer.withheld) >= CHANGES_MAX:
            return False
        peer.withheld[entry.id] = (until_s, entry)
        if not peer.spared:
            peer.spared = True
            peer.save_cursor(self._store)
        return True

    def hold_back_again(self, peer: Peer) -> None:
        """Records that it may have been spared in an earlier session, whose cursor has passed them."""
        if self.interest is None:
            return
        now_s = loop_time_s()
        for entry_id in self.interest.unacknowledged(had_deferred=peer.spared)[:CHANGES_MAX]:
            stored = self._store.get(entry_id)
            if stored is not None and stored.source != peer.node:
                entry = entry_of(stored)
                until_s = self._held_until_s(peer, entry, now_s)
                peer.withheld[entry_id] = (now_s if until_s is None else until_s, entry)

    def release(self, peer: Peer, now_s: float) -> bool:
        """What was held back long enough and still matters is announced after all; whether there is such."""
        any_due = False
        for entry_id, (until_s, entry) in list(peer.withheld.items()):
            if self.settled(entry.author, entry.record):
                del peer.withheld[entry_id]
            elif until_s <= now_s or self._held_until_s(peer, entry, now_s) is None:
                del peer.withheld[entry_id]
                peer.outbox.append(entry)
                peer.released[entry_id] = now_s, entry
                peer.due_s = now_s
                any_due = True
        for entry_id, (told_s, _) in list(peer.released.items()):  # oldest first
            if len(peer.released) <= CHANGES_MAX and told_s > now_s - RELEASED_S:
                break
            del peer.released[entry_id]
        return any_due

    def late(self, peer: Peer, cursor: int) -> list[Entry]:
        """What was released after the neighbour's cursor had passed it, and still matters."""
        late = [e for _, e in peer.released.values() if e.sequence <= cursor]
        return [e for e in late if not self.settled(e.author, e.record)]

    def spared(self, node: NodeId, stored: StoredRecord) -> bool:
        """Whether a neighbour is not told of a record now, although it asks what is new."""
        peer = self._shared.peers.get(node)
        if peer is None or not self._costly(node, stored.kind, len(stored.wire)):
            return False
        if stored.id in peer.withheld:
            return True
        if stored.kind != "update":
            return False
        entry = entry_of(stored)
        return self.settled(entry.author, entry.record)

    def settled(self, author: NodeId, record: Record) -> bool:
        return self.interest is not None and self.interest.obsolete(author, record)

    def _costly(self, node: NodeId, kind: str, size_bytes: int) -> bool:
        return self._shared.narrow(node) or (kind == Update.KIND and size_bytes > LARGE_BYTES)

    def _held_until_s(self, peer: Peer, entry: Entry, now_s: float) -> float | None:
        hold = self.interest.defer(entry.author, entry.record) if self.interest else None
        if hold is None or hold.towards == peer.node:
            return None
        if hold.towards != b"" and hold.towards not in self._shared.peers:
            return None  # the way to whoever needs it is lost: tell everybody
        return now_s + (hold.hold_s if self._shared.narrow(peer.node) else min(WIDE_HOLD_S, hold.hold_s))
