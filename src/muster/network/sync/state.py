"""What the parts of an exchange work on: neighbours as they are known, and what all parts are given."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from muster.network.sync.ledger import Entry, Ledger, job_of
from muster.network.sync.messages import PREFIX_BYTES, Announce
from muster.network.sync.presence import Heartbeat, Presence
from muster.network.sync.record_compression import RecordCompressor, payload_bytes
from muster.network.transport.link import Link
from muster.network.transport.link_speed import LinkSpeed
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.envelope import decode, unpack
from muster.protocol.records import NodeId, Record
from muster.storage.store import StorageError, Store, StoredRecord

CHANGES_MAX = 1000
RECORDS_MAX = 64
_COUNTS_REMEMBERED = 16


@dataclass
class Peer:
    """What is known of one neighbour's log, and what is to be told to it."""

    node: NodeId
    incarnation: int = 0
    cursor: int = 0
    wanted: dict[bytes, int] = field(default_factory=dict)  # prefix -> the neighbour's number, <= CHANGES_MAX
    plainly: set[bytes] = field(default_factory=set)  # of these, the ones to be asked for in full
    covered: int = 0  # once `wanted` is empty the cursor may move to here
    gap: bool = True
    stranger: bool = False  # the author of what is wanted is unknown: its Member record is behind the gap
    anew: bool = True  # nothing is known of its log yet
    counts: deque[int] = field(default_factory=lambda: deque(maxlen=_COUNTS_REMEMBERED))  # seen, the newest
    count: int = 0  # announcements with records that it was sent
    last: int = 0  # told to it
    outbox: list[Entry] = field(default_factory=list)
    due_s: float | None = None  # when the outbox is to be announced
    withheld: dict[bytes, tuple[float, Entry]] = field(default_factory=dict)  # id -> until when, what
    released: dict[bytes, tuple[float, Entry]] = field(default_factory=dict)  # withheld, then announced when
    fresh_heartbeats: dict[bytes, Heartbeat] = field(default_factory=dict)
    spared: bool = False  # something was held back from it, in this session or another one
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    heartbeat_due_s: float = 0.0
    relay_due_s: float = 0.0
    told_job: bytes = b""
    speed: LinkSpeed = field(default_factory=LinkSpeed)

    def check_count(self, message: Announce) -> None:
        """Whether an announcement before this one was lost; one that comes twice or late is none."""
        if message.count in self.counts:
            return
        before = message.count - 1 if message.tells else message.count
        if before not in self.counts:
            self.gap = True
        self.counts.append(message.count)

    def not_taken(self, message: Announce) -> None:
        """An announcement that told something which was not understood is as good as lost, also for a
        comparison that was asked for before it came."""
        self.gap = True
        with contextlib.suppress(ValueError):
            self.counts.remove(message.count)

    def counted_up_to(self, count: int) -> bool:
        """A comparison covers all announcements up to this one; whether a later one is missing here."""
        later = [seen for seen in self.counts if 0 < seen - count <= _COUNTS_REMEMBERED]
        self.counts = deque([count, *sorted(later)], maxlen=_COUNTS_REMEMBERED)
        return bool(later) and max(later) - count != len(later)

    def new_life(self, incarnation: int) -> None:
        """The neighbour's store is another one than last time: its numbers mean nothing any more."""
        self.incarnation, self.cursor, self.covered, self.gap = incarnation, 0, 0, True
        self.anew = True
        self.wanted.clear()
        self.counts.clear()

    def load_cursor(self, store: Store) -> None:
        kept = store.state("cursor/" + self.node.hex())
        if kept:
            self.incarnation, self.cursor, *rest = msgspec.msgpack.decode(kept, type=tuple[int, ...])
            self.spared = any(rest)
            self.covered = self.cursor
            self.anew = self.cursor == 0

    def save_cursor(self, store: Store) -> None:
        with contextlib.suppress(StorageError):  # without it the next comparison is longer, no more
            kept = msgspec.msgpack.encode((self.incarnation, self.cursor, int(self.spared)))
            store.set_state("cursor/" + self.node.hex(), kept)


class SyncContext:
    """What every part of an exchange is given."""

    def __init__(
        self,
        link: Link,
        store: Store,
        ledger: Ledger,
        presence: Presence,
        known_narrow: Callable[[NodeId], bool | None],
        on_problem: Callable[[str], None],
    ) -> None:
        self.link, self.store, self.ledger, self.presence = link, store, ledger, presence
        self.known_narrow, self.on_problem = known_narrow, on_problem
        self.traffic = TrafficCounters()
        self.shorthand = RecordCompressor(store, ledger.signer.node)
        self.peers: dict[NodeId, Peer] = {}
        self._digest = 0
        self._problems: set[NodeId] = set()

    def narrow(self, node: NodeId) -> bool:
        """Whether the link to a neighbour is to be spared words."""
        known = self.known_narrow(node)
        peer = self.peers.get(node)
        return known if known is not None else peer is not None and peer.speed.narrow()

    def count_record(self, node: NodeId, name: bytes, record: Record, short: bytes) -> None:
        self.traffic.add_record(
            node, name[:PREFIX_BYTES], job_of(record, name), len(short), payload_bytes(record)
        )

    def tell_problem(self, node: NodeId, sentence: str) -> None:
        """Once for each neighbour."""
        if node not in self._problems and len(self._problems) < CHANGES_MAX:
            self._problems.add(node)
            self.on_problem(f"nothing is exchanged with {self.ledger.trust.name(node)}: {sentence}")

    def mix(self, identifier: bytes) -> None:
        """An order-free digest of all ids: equal digests mean equal contents (128 bits)."""
        self._digest ^= int.from_bytes(identifier[16:], "little")

    def digest_bytes(self) -> bytes:
        return self._digest.to_bytes(16, "little")


def loop_time_s() -> float:
    return asyncio.get_running_loop().time()


def entry_of(stored: StoredRecord) -> Entry:
    """A kept record as the listeners get it; it was verified on its way in."""
    signed = unpack(stored.wire)
    record = decode(signed.body)
    return Entry(stored.id, signed.author, record, stored.source, stored.sequence, len(stored.wire))
