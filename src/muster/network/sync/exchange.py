"""State, not messages: neighbours compare what they have and pull what they lack (design section 2.2).

Every store numbers its records as they come.  A node remembers for each neighbour the number up to which
it has dealt with everything (its cursor).  This is the shell; what there is to know of a neighbour, and what
all parts are given: `exchange_state`; telling it what is new: `exchange_telling`; what it is not told yet:
`exchange_holding`; pulling what it has: `exchange_pulling`; answering it: `exchange_answering`; what the
messages look like: `exchange_wire`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from muster.network.sync.announcer import Announcer
from muster.network.sync.answering import RecordResponder
from muster.network.sync.deferred import DeferredRecords
from muster.network.sync.ledger import Entry, Ledger, job_of
from muster.network.sync.presence import Presence
from muster.network.sync.record_compression import blobs
from muster.network.sync.record_sync import RecordSync
from muster.network.sync.state import CHANGES_MAX, Peer, SyncContext
from muster.network.transport.link import Link
from muster.protocol.records import NodeId
from muster.storage.store import Store


class Exchange:
    """Keeps this node's records and beats level with those of its direct neighbours."""

    def __init__(
        self,
        link: Link,
        store: Store,
        ledger: Ledger,
        presence: Presence,
        *,
        heartbeat_period_s: Callable[[NodeId], float],
        narrow: Callable[[NodeId], bool | None] = lambda node: None,
        on_problem: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """`narrow`: whether a neighbour's link is below 64 kbit/s; None: it is to be found out here."""
        self.shared = SyncContext(link, store, ledger, presence, narrow, on_problem)
        self.holding = DeferredRecords(self.shared)
        self.traffic = self.shared.traffic
        self._telling = Announcer(self.shared, self.holding, heartbeat_period_s)
        self._pulling = RecordSync(self.shared)
        self._answering = RecordResponder(self.shared, self.holding)
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        shared = self.shared
        after = 0
        while page := shared.store.since(after, CHANGES_MAX):
            for stored in page:
                shared.mix(stored.id)
            after = page[-1].sequence
        for kind in ("member", "plan"):
            for entry in shared.ledger.load(kind):
                shared.shorthand.note(entry.id, entry.author, entry.record)
        shared.ledger.listeners.append(self._on_record)
        shared.presence.watchers.append(self._telling.on_heartbeat)
        shared.link.listen("n", self._pulling.on_announce)
        shared.link.serve("c", self._answering.changes)
        shared.link.serve("r", self._answering.records)
        shared.link.serve("R", self._answering.records_in_full)
        shared.link.watch(self._on_neighbour)
        for node in shared.link.neighbours():
            self._on_neighbour(node, True)
        self._ticker = asyncio.get_running_loop().create_task(self._telling.tick())

    async def close(self) -> None:
        peers = self.shared.peers.values()
        tasks = [p.task for p in peers if p.task] + ([self._ticker] if self._ticker else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._telling.close()
        for peer in peers:
            peer.save_cursor(self.shared.store)

    def publish_heartbeat(self) -> None:
        """Send this node's word to the neighbours now (its state changed in a way that others wait for)."""
        self._telling.publish_heartbeat()

    def narrow(self, node: NodeId) -> bool:
        """Whether the link to a neighbour is to be spared words."""
        return self.shared.narrow(node)

    def rate_bytes_s(self, node: NodeId) -> float | None:
        """A rough measure of a neighbour's link, from small questions; None while too little is known."""
        peer = self.shared.peers.get(node)
        return peer.speed.rate_bytes_s() if peer else None

    def _on_record(self, entry: Entry) -> None:
        shared = self.shared
        shared.mix(entry.id)
        for blob in blobs(entry.record):
            shared.traffic.assign_blob(blob, job_of(entry.record, entry.id))
        shared.shorthand.note(entry.id, entry.author, entry.record)
        for peer in shared.peers.values():
            if peer.node != entry.source:
                self._telling.queue(peer, entry)

    def _on_neighbour(self, node: NodeId, up: bool) -> None:
        shared = self.shared
        peer = shared.peers.get(node)
        if up and peer is None:
            peer = Peer(node)
            peer.load_cursor(shared.store)
            self._telling.greet(peer)
            shared.peers[node] = peer
            self.holding.hold_back_again(peer)
            peer.task = asyncio.get_running_loop().create_task(self._pulling.converse(peer))
            self.publish_heartbeat()
        elif not up and peer is not None:
            del shared.peers[node]
            if peer.task:
                peer.task.cancel()
            peer.save_cursor(shared.store)
            self._pulling.forget(node)
