"""Answering neighbours: what changed since their cursor, and the records that they ask for."""

from __future__ import annotations

from muster.network.sync.deferred import DeferredRecords
from muster.network.sync.messages import (
    PREFIX_BYTES,
    WIRE,
    Changes,
    WrongWire,
    pack,
    pack_heartbeats,
    unpack_list,
    unpack_since,
)
from muster.network.sync.state import CHANGES_MAX, RECORDS_MAX, SyncContext, entry_of
from muster.network.transport.link import Refused
from muster.protocol.records import NodeId

REPLY_BYTES_MAX = 48 * 1024


class RecordResponder:
    """The link's handlers."""

    def __init__(self, shared: SyncContext, holding: DeferredRecords) -> None:
        self._shared, self._holding = shared, holding
        self._store, self._presence = shared.store, shared.presence
        self._shorthand, self._traffic = shared.shorthand, shared.traffic

    async def changes(self, node: NodeId, payload: bytes) -> bytes:
        try:
            request = unpack_since(payload)
        except WrongWire as error:
            self._shared.tell_problem(node, str(error))
            raise Refused(str(error)) from error
        cursor = request.cursor if request.incarnation == self._store.incarnation else 0
        last = self._store.last_sequence()
        entries: list[tuple[int, bytes]] = []
        if request.digest != self._shared.digest_bytes():
            stored = self._store.since(cursor, CHANGES_MAX)
            every = request.anew or cursor == 0
            wanted = [s for s in stored if (every or s.source != node) and not self._holding.spared(node, s)]
            entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in wanted]
            last = stored[-1].sequence if len(stored) >= CHANGES_MAX else last
            if len(stored) >= CHANGES_MAX:  # keep the list full, or the asker takes it for the last one
                entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in stored]
            elif (peer := self._shared.peers.get(node)) is not None:
                late = self._holding.late(peer, cursor)
                entries = [(e.sequence, e.id[:PREFIX_BYTES]) for e in late] + entries
        words = pack_heartbeats(self._presence.heartbeats(), self._presence.node[:PREFIX_BYTES])
        count = self._shared.peers[node].count if node in self._shared.peers else 0
        answer = pack(Changes(WIRE, self._store.incarnation, last, count, entries, words))
        self._traffic.add_exchange(node, len(answer) - len(words), len(words))
        return answer

    async def records(self, node: NodeId, payload: bytes) -> bytes:
        return self._records_for(node, unpack_list(payload), in_full=False)

    async def records_in_full(self, node: NodeId, payload: bytes) -> bytes:
        return self._records_for(node, unpack_list(payload), in_full=True)

    def _records_for(self, node: NodeId, prefixes: list[bytes], *, in_full: bool) -> bytes:
        found = [self._store.get(i) for prefix in prefixes[:RECORDS_MAX] for i in self._store.find(prefix)]
        records: list[bytes] = []
        size = 0
        # in the order in which they came here: what a record in short form refers to goes before it
        for stored in sorted((s for s in found if s is not None), key=lambda s: s.sequence):
            data = stored.wire if in_full else self._shorthand.shorten(stored.id, stored.wire)
            if not records or size + len(data) <= REPLY_BYTES_MAX:
                records.append(data)
                size += len(data)
                self._shared.count_record(node, stored.id, entry_of(stored).record, data)
        answer = pack(records)
        self._traffic.add_exchange(node, len(answer) - size)
        return answer
