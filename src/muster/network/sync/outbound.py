"""What one neighbour is to hear from here, and when: a state machine, no clock, no link.

New records are queued, or deferred.  `take_announcements` makes messages of them and of heartbeats: this
node's own, and of others those that `relays` chooses.  On a narrow link they are rare and go with records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from muster.network.sync.deferred import DeferralRule, DeferredRecords
from muster.network.sync.heartbeat import SHORT_NAME_BYTES, Heartbeat, pack_heartbeats
from muster.network.sync.ledger import Entry
from muster.network.sync.messages import CHANGES_MAX, PREFIX_BYTES, Announce
from muster.network.sync.relays import Relayed, Relays
from muster.protocol.ids import NodeId, RecordId

ANNOUNCE_BYTES_MAX = 5600  # a record with the largest inline payload; over one batch it goes in pieces
HEARTBEATS_MAX = 40  # in one announcement
HOLD_S = 30.0  # for a record that the neighbour gets from whom it came from here
HEARS_S = 60.0  # between two lists of whom this node hears itself, which may be lost
FLUSH_S = 0.01  # records made together are announced together
FLUSH_NARROW_S = 0.1  # on a narrow link: a commit and the plan that follows it go together
LINGER_S = {
    "measurement": 10.0,
    "contribution": 30.0,
    "refusal": 10.0,
    "need": 10.0,
    "use": 10.0,
}  # there these wait for company


@dataclass(frozen=True)
class AnnounceAt:
    """The queue is to be announced at `due_s`, on the loop's clock."""

    due_s: float


@dataclass(frozen=True)
class Deferred:
    """The record waits; `first`: it is the first ever for this neighbour, which is to be stored."""

    first: bool


@dataclass(frozen=True)
class Announcement:
    """A message to send, and which records are inside it, compressed."""

    message: Announce
    records: list[tuple[Entry, bytes]]


@dataclass
class Outbound:
    """Changed by new records, by heartbeats and by time."""

    node: NodeId  # the neighbour
    count: int = 0  # announcements with records that it was sent
    last: int = 0  # every record up to this number was announced to it, or is deferred
    outbox: list[Entry] = field(default_factory=list)
    due_s: float | None = None  # when the outbox is to be announced
    deferred: DeferredRecords = field(default_factory=DeferredRecords)
    own_heartbeat: Heartbeat | None = None  # the neighbour lacks it
    heartbeat_due_s: float = 0.0  # the next one of this node's own
    relays: Relays = field(init=False)  # of others' heartbeats
    # until when: records that it gets from a neighbour of both, by their ids; `last` stays before them
    held: dict[RecordId, tuple[float, Entry]] = field(default_factory=dict)
    said_hears: frozenset[bytes] = frozenset()  # what it knows of whom this node hears itself,
    hears_due_s: float = 0.0  # and when that is said again
    announced_job: bytes = b""  # in this node's last regular heartbeat

    def __post_init__(self) -> None:
        self.relays = Relays(self.node)

    def begin(self, last: int, now_s: float) -> None:
        """A session begins: all heartbeats are news, all records up to `last` are found by comparing."""
        self.relays.begin(now_s)
        self.held.clear()
        self.said_hears, self.hears_due_s = frozenset(), now_s
        self.last = last
        self.count = int(now_s * 1000) & 0x7FFF  # another than in the last session, most likely

    # ---- what is new -----------------------------------------------------------------------------------

    def on_record(
        self, entry: Entry, now_s: float, rule: DeferralRule, *, narrow: bool
    ) -> AnnounceAt | Deferred:
        """A record came or was made here: it is announced soon, with others, or deferred."""
        if rule.costly(self.node, entry.record.KIND, entry.size_bytes):
            until_s = rule.until_s(self.node, entry, now_s)
            if until_s is not None and self.deferred.add(entry, until_s):
                first, self.deferred.any_ever = not self.deferred.any_ever, True
                return Deferred(first)
        self.outbox.append(entry)
        if len(self.outbox) > CHANGES_MAX:  # far behind: it asks by its cursor instead
            self.outbox.clear()
            self.count += 1
        delay_s = LINGER_S.get(entry.record.KIND, FLUSH_NARROW_S) if narrow else FLUSH_S
        return AnnounceAt(self.due_within(now_s, delay_s))

    def due_within(self, now_s: float, delay_s: float) -> float:
        """Have the queue announced after so many seconds at most; when it is, on the loop's clock."""
        self.due_s = min(self.due_s or now_s + delay_s, now_s + delay_s)
        return self.due_s

    def hold(self, entry: Entry, now_s: float) -> bool:
        """Whether a record need not be announced for now, as the neighbour hears of it from whom it came from
        here, and says that it hears him."""
        if entry.source[:SHORT_NAME_BYTES] not in self.relays.hears or len(self.held) >= CHANGES_MAX:
            return False
        self.held[entry.id] = now_s + HOLD_S, entry
        return True

    def on_level(self) -> None:
        """The neighbour has all that is here."""
        self.held.clear()

    def release_held(self, now_s: float) -> bool:
        """Queue what was held for long enough, or came from whom the neighbour does not hear any more."""
        hears = self.relays.hears
        due = [
            entry
            for until_s, entry in self.held.values()
            if until_s <= now_s or entry.source[:SHORT_NAME_BYTES] not in hears
        ]
        for entry in due:
            del self.held[entry.id]
        self.outbox += due
        if due:
            self.due_s = now_s
        return bool(due)

    def on_time(self, now_s: float, rule: DeferralRule) -> AnnounceAt | None:
        """Deferred records whose time is over are queued after all."""
        due = self.deferred.release(now_s, rule, self.node) if self.deferred.waiting else []
        if not due:
            return None
        self.outbox += due
        self.due_s = now_s
        return AnnounceAt(now_s)

    # ---- this node's own heartbeat -----------------------------------------------------------------------

    def heartbeat_due(self, now_s: float, *, changed: bool, narrow: bool, job: bytes) -> bool:
        """Whether the neighbour is to hear this node's heartbeat; `changed`: others wait for a change of its
        state.  A narrow link carries no such change but that to another job."""
        if self.heartbeat_due_s <= now_s:
            return True
        return changed and (not narrow or self.heartbeat_due_s == 0.0 or job != self.announced_job)

    def on_own_heartbeat(self, mine: Heartbeat, next_s: float) -> None:
        """This node's regular heartbeat is to go out; the next one is due at `next_s`."""
        self.announced_job = mine.job
        self.add_own_heartbeat(mine, next_s)

    def wants_own_heartbeat(self, *, narrow: bool) -> bool:
        """Whether records are about to go over a narrow link: the heartbeat goes with them."""
        return narrow and bool(self.outbox) and self.own_heartbeat is None

    def add_own_heartbeat(self, mine: Heartbeat, next_s: float) -> None:
        self.own_heartbeat = mine
        self.heartbeat_due_s = next_s

    def take_heartbeats(self, others: Sequence[Relayed]) -> list[Relayed]:
        """This node's own if it is due, and those of others."""
        mine, self.own_heartbeat = self.own_heartbeat, None
        return [*([mine] if mine is not None else []), *others]

    def take_hears(self, hears: frozenset[bytes], now_s: float) -> frozenset[bytes] | None:
        """Whom this node hears itself, if that is news to the neighbour or long ago."""
        if hears == self.said_hears and (not hears or now_s < self.hears_due_s):
            return None
        self.said_hears, self.hears_due_s = hears, now_s + HEARS_S
        return hears

    def next_s(self) -> float:
        """When `on_time` and `heartbeat_due` are to be asked again, at the latest."""
        deferred_s = self.deferred.next_s()
        return self.heartbeat_due_s if deferred_s is None else min(self.heartbeat_due_s, deferred_s)

    def on_failure(self, again_s: float) -> None:
        """What was queued could not be announced: what is left of it is due again, and the neighbour, to
        which a number is missing now, compares."""
        self.count += 1
        self.due_s = again_s

    # ---- messages --------------------------------------------------------------------------------------

    def take_announcements(
        self,
        own: bytes,
        heartbeats: list[Relayed],
        hears: frozenset[bytes] | None = None,
        *,
        digest: bytes = b"",
        last: int,
        compressed: Callable[[Entry, int], bytes | None],
    ) -> list[Announcement]:
        """All that is new, as messages small enough to pass in one piece; afterwards nothing is queued.

        `own`: the first bytes of this node's id; `hears`: those of whom it hears itself, if it is to say
        that; `digest`: that of all its records, likewise; `last`: the number of the newest record here.
        `compressed(entry, room)` is a record to go inside a message, at most `room` bytes with its framing,
        or None: then its number and prefix go, and the neighbour asks if it lacks the record.
        """
        self.due_s = None
        found: list[Announcement] = []
        while not found or self.outbox or heartbeats:
            some, heartbeats = heartbeats[:HEARTBEATS_MAX], heartbeats[HEARTBEATS_MAX:]
            message = Announce(self.count, self.last, [], [], pack_heartbeats(some, own, hears, digest))
            hears, digest = None, b""
            room = ANNOUNCE_BYTES_MAX - 40 - len(message.heartbeats)
            inside: list[tuple[Entry, bytes]] = []
            for entry in self.outbox:
                data = compressed(entry, room)
                room -= len(data) + 5 if data is not None else 14
                if room < 0:
                    break
                if data is not None:
                    message.inline.append(data)
                    inside.append((entry, data))
                else:
                    message.ids.append((entry.sequence, entry.id[:PREFIX_BYTES]))
            del self.outbox[: len(message.inline) + len(message.ids)]
            if not self.outbox:
                first_held = min((entry.sequence for _, entry in self.held.values()), default=last + 1)
                message.last = self.last = min(last, first_held - 1)
            if message.has_records:
                message.count = self.count = self.count + 1
            found.append(Announcement(message, inside))
        return found
