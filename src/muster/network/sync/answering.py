"""Answers neighbours: what changed since their cursor, and the records that they ask for."""

from __future__ import annotations

from muster.network.sync.deferred import DeferralRule
from muster.network.sync.heartbeat import pack_heartbeats
from muster.network.sync.messages import (
    CHANGES_MAX,
    PREFIX_BYTES,
    WIRE,
    Changes,
    WrongWire,
    pack,
    unpack_prefixes,
    unpack_since,
)
from muster.network.sync.peers import SyncContext, SyncPeer, loop_time_s
from muster.network.sync.relays import SMALL_FLEET, Relayed
from muster.network.transport.link import Refused
from muster.network.transport.offences import REFUSAL
from muster.protocol.ids import NodeId
from muster.protocol.records import Update
from muster.storage.store import StoredRecord

REPLY_BYTES_MAX = 48 * 1024


class RecordResponder:
    """The link's handlers of the topics "c", "r" and "R"."""

    def __init__(self, shared: SyncContext, rule: DeferralRule) -> None:
        self._shared, self._rule = shared, rule
        self._store, self._presence, self._traffic = shared.store, shared.presence, shared.traffic
        self._quarantined = shared.ledger.quarantined

    async def changes(self, node: NodeId, payload: bytes) -> bytes:
        """Which records came after the asker's cursor, but for what is deferred."""
        self._refuse_cut(node)
        try:
            request = unpack_since(payload)
        except WrongWire as error:
            self._shared.report_problem(node, str(error))
            self._shared.offences.add(node, str(error))
            raise Refused(str(error)) from error
        cursor = request.cursor if request.incarnation == self._store.incarnation else 0
        peer = self._shared.peers.get(node)
        last = self._store.last_sequence()
        entries: list[tuple[int, bytes]] = []
        if request.digest != self._shared.digest_bytes():
            stored = self._store.since(cursor, CHANGES_MAX)
            every = request.full_resync or cursor == 0
            wanted = [s for s in stored if (every or s.source != node) and not self._left_out(node, s)]
            entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in wanted]
            last = stored[-1].sequence if len(stored) >= CHANGES_MAX else last
            if len(stored) >= CHANGES_MAX:  # keep the list full, or the asker takes it for the last one
                entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in stored]
            elif peer is not None:
                late = peer.outbound.deferred.behind(cursor, self._rule)
                entries = [(e.sequence, e.id[:PREFIX_BYTES]) for e in late] + entries
        heartbeats = pack_heartbeats(self._heartbeats(node, peer), self._presence.node[:PREFIX_BYTES])
        count = peer.outbound.count if peer is not None else 0
        answer = pack(Changes(WIRE, self._store.incarnation, last, count, entries, heartbeats))
        self._traffic.add_exchange(node, len(answer) - len(heartbeats), len(heartbeats))
        return answer

    def _heartbeats(self, node: NodeId, peer: SyncPeer | None) -> list[Relayed]:
        """All that are known in a small fleet; in a large one this node's own, the asker's, which has perhaps
        lost its disk, and what is due of others."""
        mine = self._presence.mine()
        if self._presence.others() <= SMALL_FLEET:
            return [*mine, *self._presence.heartbeats()]
        if (heard := self._presence.table.get(node[:PREFIX_BYTES])) is not None:
            mine.append(heard.heartbeat)
        return [*mine, *(self._shared.relayed(peer, loop_time_s()) if peer is not None else ())]

    async def records(self, node: NodeId, payload: bytes) -> bytes:
        return self._records_for(node, self._prefixes(node, payload), in_full=False)

    async def records_in_full(self, node: NodeId, payload: bytes) -> bytes:
        return self._records_for(node, self._prefixes(node, payload), in_full=True)

    def _prefixes(self, node: NodeId, payload: bytes) -> list[bytes]:
        """What a neighbour asks for. Raises Refused."""
        self._refuse_cut(node)
        try:
            return unpack_prefixes(payload)
        except WrongWire as error:
            self._shared.offences.add(node, str(error))
            raise Refused(str(error)) from error

    def _refuse_cut(self, node: NodeId) -> None:
        """Raises Refused for a neighbour that is cut off."""
        if self._shared.offences.cut(node):
            raise Refused(REFUSAL)

    def _left_out(self, node: NodeId, stored: StoredRecord) -> bool:
        """Whether a record is kept from a neighbour for now, although it asks what is new."""
        if stored.id in self._quarantined:
            return True
        peer = self._shared.peers.get(node)
        if peer is None or not self._rule.costly(node, stored.kind, len(stored.wire)):
            return False
        if stored.id in peer.outbound.deferred.waiting:
            return True
        return stored.kind == Update.KIND and self._rule.obsolete(self._shared.ledger.entry_of(stored))

    def _records_for(self, node: NodeId, prefixes: list[bytes], *, in_full: bool) -> bytes:
        names = [i for prefix in prefixes for i in self._store.find(prefix)]
        found = [self._store.get(name) for name in names if name not in self._quarantined]
        records: list[bytes] = []
        size = 0
        # in the order in which they came here: what a compressed record refers to goes before it
        for stored in sorted((s for s in found if s is not None), key=lambda s: s.sequence):
            data = stored.wire if in_full else self._shared.shorten(stored)
            if not records or size + len(data) <= REPLY_BYTES_MAX:
                records.append(data)
                size += len(data)
                self._shared.count_record(node, stored.id, self._shared.ledger.entry_of(stored).record, data)
        answer = pack(records)
        self._traffic.add_exchange(node, len(answer) - size)
        return answer
