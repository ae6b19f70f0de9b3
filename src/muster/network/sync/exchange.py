"""Keeps records and heartbeats level between direct neighbours: state, not messages.

Neighbours compare what they have and pull what they lack; announcements only say earlier what a comparison
would find later, so that none of them has to arrive.  Every store numbers its records as they come, and a
node remembers for each neighbour the number up to which it has dealt with everything (its cursor).

This file starts the parts and hands them what comes: `announcer` (what goes out), `record_sync` (what comes
in), `answering` (questions of neighbours); what there is to know of a neighbour: `outbound`, `inbound`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from muster.network.supervisor import KeptLoop, Supervisor
from muster.network.sync.announcer import Announcer
from muster.network.sync.answering import RecordResponder
from muster.network.sync.deferred import DeferralRule, Forwarding
from muster.network.sync.ledger import Entry, Ledger, job_of
from muster.network.sync.messages import CHANGES_MAX
from muster.network.sync.peers import SyncContext, SyncPeer
from muster.network.sync.presence import Presence
from muster.network.sync.record_sync import RecordSync
from muster.network.sync.relays import RELAY_BYTES_S
from muster.network.transport.link import Link
from muster.network.transport.offences import Offences
from muster.network.transport.traffic_counters import TrafficCounters
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Member, Plan, Revocation
from muster.storage.store import Store, StoredRecord

PLANS_NOTED = 2048  # the last ones: what may be sent shortened against them,
PLANS_AMONG = 20_000  # of so many records


class Exchange:
    """Runs the exchange of one node with all of its neighbours."""

    def __init__(
        self,
        link: Link,
        store: Store,
        ledger: Ledger,
        presence: Presence,
        forwarding: Forwarding,
        *,
        traffic: TrafficCounters,
        heartbeat_period_s: Callable[[NodeId], float],
        relay_bytes_s: Callable[[NodeId], float] = lambda node: RELAY_BYTES_S,
        narrow: Callable[[NodeId], bool | None] = lambda node: None,
        on_problem: Callable[[str], None] = lambda sentence: None,
        supervisor: Supervisor | None = None,
        offences: Offences | None = None,
    ) -> None:
        """`forwarding`: which neighbour needs which record; `relay_bytes_s`: bytes a second that others'
        heartbeats may take on its link; `narrow`: whether a neighbour's link is below 64 kbit/s, None: it is
        to be found out here."""
        self._supervisor = supervisor or Supervisor()
        self.shared = shared = SyncContext(
            link, store, ledger, presence, traffic, narrow, on_problem, self._supervisor,
            offences or Offences(ledger.trust.name, on_problem), relay_bytes_s,
        )  # fmt: skip
        self.traffic = traffic
        rule = DeferralRule(forwarding, narrow=shared.narrow, in_reach=shared.in_reach)
        self._announcer = Announcer(shared, rule, heartbeat_period_s)
        self._record_sync = RecordSync(
            shared, self._announcer.on_back, self._announcer.on_hears, self._announcer.on_outdated
        )
        self._responder = RecordResponder(shared, rule)
        self._heartbeats: KeptLoop | None = None

    async def start(self) -> None:
        """Load what is kept, then listen to the ledger, to presence and to the link."""
        shared = self.shared
        plans = await self._load_digest()
        for entry in [*shared.ledger.load(Member.KIND), *map(shared.ledger.entry_of, plans)]:
            self._note_member(entry)
            shared.compressor.note(entry.id, entry.author, entry.record)
        shared.ledger.listeners.append(self._on_record)
        shared.ledger.removal_listeners.append(self._on_removed)
        shared.presence.rare_listeners.append(self._announcer.on_rare)
        shared.link.listen("n", self._record_sync.on_announce)
        shared.link.serve("c", self._responder.changes)
        shared.link.serve("r", self._responder.records)
        shared.link.serve("R", self._responder.records_in_full)
        shared.link.watch(self._on_neighbour)
        for node in shared.link.neighbours():
            self._on_neighbour(node, True)
        self._heartbeats = self._supervisor.keep("the announcer", self._announcer.run)

    async def _load_digest(self) -> deque[StoredRecord]:
        """Add up the ids of all kept records, from where the last process noted it; the last plans."""
        shared, store = self.shared, self.shared.store
        noted = shared.noted_digest()
        after = begin = min(noted, max(0, store.last_sequence() - PLANS_AMONG))
        plans: deque[StoredRecord] = deque(maxlen=PLANS_NOTED)
        while page := store.since(after, CHANGES_MAX):
            for stored in page:
                if stored.id in shared.ledger.quarantined:
                    continue
                if stored.sequence > noted:
                    shared.add_to_digest(stored.id)
                if stored.kind == Plan.KIND:
                    plans.append(stored)
            after = page[-1].sequence
            await asyncio.sleep(0)
        if after - begin > PLANS_AMONG:
            shared.note_digest()
        return plans

    async def close(self) -> None:
        peers = self.shared.peers.values()
        loops = [p.loop for p in peers] + [self._heartbeats]
        tasks = [loop.task for loop in loops if loop is not None and loop.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._announcer.close()
        for peer in peers:
            self.shared.save(peer)
        self.shared.note_digest()

    def publish_heartbeat(self) -> None:
        """Send this node's heartbeat to the neighbours now (its state changed, and others wait for that)."""
        self._announcer.publish_heartbeat()

    def narrow(self, node: NodeId) -> bool:
        """Whether the link to a neighbour is below 64 kbit/s."""
        return self.shared.narrow(node)

    def rate_bytes_s(self, node: NodeId) -> float | None:
        """A rough measure of a neighbour's link, from small requests; None while too little is known."""
        peer = self.shared.peers.get(node)
        return peer.speed.rate_bytes_s() if peer else None

    def _on_record(self, entry: Entry) -> None:
        """A record was kept, made here or learnt from a neighbour: the other neighbours are to hear of it."""
        shared = self.shared
        shared.add_to_digest(entry.id)
        job = job_of(entry.record, entry.id)
        shared.traffic.assign_blobs(entry.record, job)
        if entry.source:
            shared.traffic.took_record(job, entry.size_bytes)
        shared.compressor.note(entry.id, entry.author, entry.record)
        self._note_member(entry)
        for peer in shared.peers.values():
            if peer.node != entry.source:
                self._announcer.enqueue(peer, entry)

    def _note_member(self, entry: Entry) -> None:
        """Heartbeats of members are passed on."""
        if isinstance(entry.record, Member):
            if not self.shared.ledger.trust.revoked(entry.author):
                self.shared.presence.admit(entry.author)
        elif isinstance(entry.record, Revocation):
            self.shared.presence.expel(entry.record.node)

    def _on_removed(self, record_id: RecordId) -> None:
        """A newer record stands in the place of one, which nobody need hear of any more."""
        self.shared.take_from_digest(record_id)
        for peer in self.shared.peers.values():
            peer.outbound.outbox = [entry for entry in peer.outbound.outbox if entry.id != record_id]
            peer.outbound.held.pop(record_id, None)

    def _on_neighbour(self, node: NodeId, up: bool) -> None:
        """A session with a neighbour begins or ends."""
        shared = self.shared
        peer = shared.peers.get(node)
        if up and peer is None:
            peer = shared.peers[node] = SyncPeer.load(node, shared.store)
            self._announcer.add_peer(peer)
            name = shared.ledger.trust.name(node)
            work = partial(self._record_sync.run, peer)
            peer.loop = self._supervisor.keep(f"asking {name} for records", work)
            self.publish_heartbeat()
        elif not up and peer is not None:
            del shared.peers[node]
            if peer.loop:
                peer.loop.cancel()
            shared.save(peer)
            self._record_sync.forget(node)
