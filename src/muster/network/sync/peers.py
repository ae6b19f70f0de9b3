"""The neighbours of an exchange, and what all of its parts are given."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from muster.network.supervisor import KeptLoop, Supervisor
from muster.network.sync.inbound import Inbound
from muster.network.sync.ledger import Ledger, job_of
from muster.network.sync.messages import PREFIX_BYTES
from muster.network.sync.outbound import Outbound
from muster.network.sync.presence import Presence
from muster.network.sync.record_compression.compressor import RecordCompressor
from muster.network.sync.relays import Relayed
from muster.network.transport.link import Link
from muster.network.transport.link_speed import LinkSpeed
from muster.network.transport.offences import Offences
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.contents import inline_bytes
from muster.protocol.ids import NodeId
from muster.protocol.versions import Received
from muster.storage.store import StorageError, Store, StoredRecord

_DIGEST = (
    "digest/2"  # state: up to which record, of all ids up to there, which are left out, how many removed
)
PROBLEMS_MAX = 1000  # neighbours of which a problem was reported
PASSED_OVER_MAX = 4096  # records of authors that are cut off


@dataclass
class SyncPeer:
    """One neighbour: `inbound` belongs to `RecordSync`, `outbound` to the `Announcer`."""

    node: NodeId
    inbound: Inbound
    outbound: Outbound
    speed: LinkSpeed = field(default_factory=LinkSpeed)  # by the requests of `RecordSync`
    wake: asyncio.Event = field(default_factory=asyncio.Event)  # there may be something to ask for
    loop: KeptLoop | None = None  # which asks
    heard_s: float = math.inf  # when its last announcement came

    @classmethod
    def load(cls, node: NodeId, store: Store) -> SyncPeer:
        """A neighbour as the last session with it left it."""
        peer = cls(node, Inbound(), Outbound(node))
        kept = store.state(_key(node))
        if kept:
            incarnation, cursor, *rest = msgspec.msgpack.decode(kept, type=tuple[int, ...])
            peer.inbound.resume(incarnation, cursor)
            peer.outbound.deferred.any_ever = any(rest)
        return peer

    def save(self, store: Store, *, whole: bool = True) -> None:
        """Keep how far this node is with the neighbour, and whether something was ever deferred for it.

        Not `whole`: records before its cursor are still to come."""
        inbound, deferred = self.inbound, self.outbound.deferred
        with contextlib.suppress(StorageError):  # without it the next comparison is longer, no more
            kept = msgspec.msgpack.encode(
                (inbound.incarnation, inbound.cursor if whole else 0, int(deferred.any_ever))
            )
            store.note_state(_key(self.node), kept)


def _key(node: NodeId) -> str:
    return "cursor/" + node.hex()


class SyncContext:
    """What every part of an exchange is given."""

    def __init__(
        self,
        link: Link,
        store: Store,
        ledger: Ledger,
        presence: Presence,
        traffic: TrafficCounters,
        known_narrow: Callable[[NodeId], bool | None],
        on_problem: Callable[[str], None],
        supervisor: Supervisor,
        offences: Offences,
        relay_bytes_s: Callable[[NodeId], float],
    ) -> None:
        self.link, self.store, self.ledger, self.presence = link, store, ledger, presence
        self.traffic, self.supervisor = traffic, supervisor
        self.known_narrow, self.on_problem, self.relay_bytes_s = known_narrow, on_problem, relay_bytes_s
        self.compressor = RecordCompressor(store, ledger.signer.node, left_out=ledger.quarantined)
        self.peers: dict[NodeId, SyncPeer] = {}
        self.offences = offences  # of neighbours
        self.authors = Offences(
            ledger.trust.name, on_problem, consequence="what {name} makes is not taken from anybody"
        )
        self.passed_over: dict[bytes, NodeId] = {}  # prefixes of records that were not looked at, by authors
        self._digest = 0
        self._problems: dict[NodeId, None] = {}

    def narrow(self, node: NodeId) -> bool:
        """Whether the link to a neighbour is to carry few heartbeats and only records that are needed now."""
        known = self.known_narrow(node)
        peer = self.peers.get(node)
        return known if known is not None else peer is not None and peer.speed.narrow()

    def relayed(self, peer: SyncPeer, now_s: float) -> list[Relayed]:
        """The heartbeats of others that a neighbour gets now."""
        return peer.outbound.relays.take(
            self.presence,
            now_s,
            narrow=self.narrow(peer.node),
            rate_bytes_s=lambda: self.relay_bytes_s(peer.node),
        )

    def in_reach(self, node: NodeId) -> bool:
        """Whether a node is a neighbour now."""
        return node in self.peers

    def count_record(self, node: NodeId, name: bytes, record: Received, data: bytes) -> None:
        """A record goes to a neighbour as `data`."""
        self.traffic.add_record(
            node, name[:PREFIX_BYTES], job_of(record, name), len(data), inline_bytes(record)
        )

    def report_problem(self, node: NodeId, sentence: str) -> None:
        """Say that nothing is exchanged with a neighbour, once for each."""
        if node not in self._problems:
            self._problems[node] = None
            if len(self._problems) > PROBLEMS_MAX:
                del self._problems[next(iter(self._problems))]
            self.on_problem(f"nothing is exchanged with {self.ledger.trust.name(node)}: {sentence}")

    def shorten(self, stored: StoredRecord) -> bytes:
        """A record as it goes to a neighbour; one that cannot be shortened goes as it is."""
        try:
            return self.compressor.compress(stored.id, stored.wire)
        except Exception as error:
            self.supervisor.fault("shortening a record", error)
            return stored.wire

    def save(self, peer: SyncPeer) -> None:
        """Keep how far this node is with a neighbour; records that were passed over are still to come."""
        peer.save(self.store, whole=not self.passed_over)

    def cut_off(self, node: NodeId) -> bool:
        """Whether a node is not heard now, or what it makes is taken from nobody."""
        return self.offences.cut(node) or self.authors.cut(node)

    def pass_over(self, prefix: bytes, author: NodeId) -> None:
        """A record is not looked at while its author is cut off."""
        self.passed_over[prefix] = author
        if len(self.passed_over) > PASSED_OVER_MAX:
            del self.passed_over[next(iter(self.passed_over))]

    def forget_passed_over(self, author: NodeId) -> bool:
        """Whether records of an author were passed over; they are not any more."""
        theirs = [prefix for prefix, by in self.passed_over.items() if by == author]
        for prefix in theirs:
            del self.passed_over[prefix]
        return bool(theirs)

    def add_to_digest(self, identifier: bytes) -> None:
        """An order-free digest of all ids: equal digests mean equal contents (128 bits)."""
        self._digest ^= int.from_bytes(identifier[16:], "little")

    take_from_digest = add_to_digest  # an id that is added twice is not in it

    def note_digest(self) -> None:
        """For the next process, which need not read the ids of all records again."""
        last, left_out = self.store.last_sequence(), sorted(self.ledger.quarantined)
        with contextlib.suppress(StorageError):
            kept = msgspec.msgpack.encode((last, self.digest_bytes(), left_out, self.ledger.removals))
            self.store.note_state(_DIGEST, kept)

    def noted_digest(self) -> int:
        """Take the digest that the last process noted; up to which record it goes, 0: none."""
        kept = self.store.state(_DIGEST)
        if kept is None:
            return 0
        last, digest, left_out, removals = msgspec.msgpack.decode(
            kept, type=tuple[int, bytes, list[bytes], int]
        )
        others = left_out != sorted(self.ledger.quarantined) or removals != self.ledger.removals
        if others or last > self.store.last_sequence():
            with contextlib.suppress(StorageError):  # other records may get these numbers
                self.store.set_state(_DIGEST, None)
            return 0
        self._digest = int.from_bytes(digest, "little")
        return last

    def digest_bytes(self) -> bytes:
        return self._digest.to_bytes(16, "little")


def loop_time_s() -> float:
    return asyncio.get_running_loop().time()
