"""What a node does about members that the fleet's owner put out, itself included."""

from __future__ import annotations

import contextlib

from muster.network.sync.ledger import Entry, Ledger
from muster.network.sync.presence import Presence
from muster.network.transport.link import REVOKED_TOPIC, Link
from muster.node.event_log import EventLog
from muster.protocol.envelope import RecordError, decode, unpack
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Member, Revocation

REVOKED_HERE = "this node's bundle was revoked by the fleet's owner: {}; ask for a new one"


def same_name(name: str, ids: list[str]) -> str:
    """That several nodes have one name."""
    return (
        f"{len(ids)} nodes are called {name} ({', '.join(ids)}), so their ids are shown: give all but one a "
        "bundle with another name ('muster fleet issue NAME')"
    )


class Revocations:
    """Bars whoever is revoked from the link; a node that is itself revoked hears so from its neighbours."""

    def __init__(self, node: NodeId, link: Link, ledger: Ledger, presence: Presence, log: EventLog) -> None:
        self._node, self._link, self._ledger, self._log = node, link, ledger, log
        self._presence = presence

    def start(self) -> None:
        """Bar all who are revoked by what is kept; call before the link opens."""
        for entry in self._ledger.load(Revocation.KIND):
            if isinstance(entry.record, Revocation):
                self._forbid(entry.id, entry.record)
        self._link.listen(REVOKED_TOPIC, lambda node, wire: self._on_revoked(wire))
        self._ledger.listeners.append(self._on_record)

    def _on_record(self, entry: Entry) -> None:
        record = entry.record
        if isinstance(record, Member) and (ids := self._ledger.trust.namesakes_of(record.name)):
            self._log.add("peer", same_name(record.name, ids))
        if not isinstance(record, Revocation):
            return
        self._forbid(entry.id, record)
        if record.node == self._node:
            self._log.add("error", REVOKED_HERE.format(record.reason))
        else:
            name = record.name or self._ledger.trust.name(record.node)
            self._log.add("peer", f"{name} was revoked: {record.reason}", node=name)

    def _forbid(self, record_id: RecordId, record: Revocation) -> None:
        stored = self._ledger.store.get(record_id)
        if record.node != self._node and stored is not None:
            name = record.name or self._ledger.trust.name(record.node)
            self._link.forbid(record.node, name, stored.wire)
            self._presence.expel(record.node)

    def _on_revoked(self, wire: bytes) -> None:
        """Somebody says that this node was revoked; nothing else is taken so."""
        with contextlib.suppress(RecordError):
            record = decode(unpack(wire).body)
            if isinstance(record, Revocation) and record.node == self._node:
                self._ledger.receive(wire, b"")
