"""Sends what `Outbound` makes: announcements of records and heartbeats, as rare as each link needs them.

A small record goes inside the announcement of its author, compressed, as its neighbours cannot have it yet;
everybody else announces the 8-byte prefix of its id only, so that in a mesh no record is sent twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from muster.network.change_signal import ChangeSignal
from muster.network.supervisor import Pulse
from muster.network.sync.deferred import DeferralRule
from muster.network.sync.heartbeat import SHORT_NAME_BYTES, Heartbeat
from muster.network.sync.ledger import Entry
from muster.network.sync.messages import PREFIX_BYTES, pack_announce
from muster.network.sync.outbound import Deferred
from muster.network.sync.peers import SyncContext, SyncPeer, loop_time_s
from muster.network.sync.presence import HEARTBEAT_USUAL_S
from muster.network.sync.relays import SMALL_FLEET
from muster.protocol.ids import NodeId

FAR_RTT_S = 0.2  # beyond it a small record is passed on whole, without waiting to be asked for
IDLE_S = 60.0  # without a neighbour
RETRY_S = 1.0  # after a failure, before the same neighbour gets the next announcement
WAIT_MIN_S = 0.05
RARE_S = 0.2  # within which others hear of what they are to hear at once
SILENT_S = (
    4.5  # after which a neighbour is not heard itself, while a job runs: two of its heartbeats did not come
)
HEARS_PAUSE_S = 0.5  # between two looks at whom this node hears itself
SPREAD = 0.2  # of the pause between two heartbeats
GOLDEN = 0.618034  # whose multiples, less their whole parts, are spread evenly over 0..1


class Announcer:
    """`run` sends heartbeats for ever; a timer sends records soon after they come."""

    def __init__(
        self,
        shared: SyncContext,
        rule: DeferralRule,
        heartbeat_period_s: Callable[[NodeId], float],
    ) -> None:
        self._shared, self._rule, self._heartbeat_period_s = shared, rule, heartbeat_period_s
        self._link, self._store, self._presence = shared.link, shared.store, shared.presence
        self._own = shared.presence.node[:PREFIX_BYTES]
        self._flush: asyncio.TimerHandle | None = None
        self._publish_now = False
        self._heard_itself: frozenset[bytes] = frozenset()
        self._hears_due_s = 0.0
        self._wake = ChangeSignal()

    def close(self) -> None:
        if self._flush:
            self._flush.cancel()

    def publish_heartbeat(self) -> None:
        """Send this node's heartbeat to the neighbours now (its state changed, and others wait for that)."""
        self._publish_now = True
        self._wake.notify()

    def add_peer(self, peer: SyncPeer) -> None:
        """A neighbour came: collect what it is to hear first, also what was deferred for it in an earlier
        session, whose cursor has passed those records."""
        now_s, outbound = loop_time_s(), peer.outbound
        outbound.begin(self._store.last_sequence(), now_s)
        for record_id in self._rule.unacknowledged(had_deferred=outbound.deferred.any_ever):
            stored = self._store.get(record_id)
            if stored is not None and stored.source != peer.node:
                entry = self._shared.ledger.entry_of(stored)
                until_s = self._rule.until_s(peer.node, entry, now_s)
                outbound.deferred.add(entry, now_s if until_s is None else until_s)

    def enqueue(self, peer: SyncPeer, entry: Entry) -> None:
        """Announce a record to a neighbour: soon, with others, or when it was deferred long enough."""
        if peer.outbound.hold(entry, loop_time_s()):
            return
        narrow = self._shared.narrow(peer.node)
        effect = peer.outbound.on_record(entry, loop_time_s(), self._rule, narrow=narrow)
        if isinstance(effect, Deferred):
            if effect.first:
                self._shared.save(peer)
            self._wake.notify()  # `run` looks when the next one is due
        else:
            self._flush_at(effect.due_s)

    def on_back(self, peer: SyncPeer) -> None:
        """A neighbour is heard again after a silence in which it may have missed announcements: the count in
        the next one shows it.  That goes at once on a link that can bear it, and on any link if the neighbour
        works for a job and this node does not: it may have missed the end."""
        heard, mine = self._presence.table.get(peer.node[:8]), self._presence.job()
        theirs = heard.heartbeat.job if heard is not None else b""
        if (mine and not self._shared.narrow(peer.node)) or (theirs and not mine):
            peer.outbound.heartbeat_due_s = 0.0
            self._wake.notify()

    def on_rare(self, heartbeat: Heartbeat) -> None:
        """Another node came, went, is back or works for another job: others hear of it at once, but for a
        small fleet while a job runs, where all goes with each of the frequent heartbeats."""
        now_s, direct = loop_time_s(), self._presence.table[heartbeat.node].direct
        if self._presence.others() <= SMALL_FLEET and self._presence.job():
            return
        for peer in self._shared.peers.values():
            relays = peer.outbound.relays
            if relays.on_rare(heartbeat, direct=direct) and not self._shared.narrow(peer.node):
                relays.due_s = now_s
                peer.outbound.due_within(now_s, RARE_S)
        self._flush_soon()

    def on_outdated(self, peer: SyncPeer) -> None:
        """A neighbour speaks of itself as it was before, and is to know at once: it lost its disk, or another
        process has its key."""
        if not self._shared.narrow(peer.node):
            peer.outbound.due_within(loop_time_s(), RARE_S)
            self._flush_soon()

    def on_hears(self, peer: SyncPeer, names: frozenset[bytes]) -> None:
        """A neighbour says whom it hears itself: heartbeats of others come from here."""
        missed, now_s = peer.outbound.relays.hears - names, loop_time_s()
        peer.outbound.relays.on_hears(names, now_s)
        if missed:
            peer.outbound.release_held(now_s)
            peer.outbound.due_s = now_s
            self._flush_soon()

    def _hears(self, now_s: float) -> frozenset[bytes]:
        """Short names of the neighbours that this node hears as often as they send; in a small fleet it need
        not be said."""
        if self._presence.others() <= SMALL_FLEET:
            return frozenset()
        most = SILENT_S / HEARTBEAT_USUAL_S
        heard = [
            peer.node[:SHORT_NAME_BYTES]
            for peer in self._shared.peers.values()
            if now_s - peer.heard_s <= most * self._heartbeat_period_s(peer.node)
        ]
        return frozenset(heard if len(heard) > 1 else ())

    async def run(self, pulse: Pulse) -> None:
        """Send heartbeats, this node's own and those heard meanwhile, as often as each link can bear."""
        loop = asyncio.get_running_loop()
        while True:
            now_s = loop.time()
            if now_s >= self._hears_due_s:
                self._heard_itself, self._hears_due_s = self._hears(now_s), now_s + HEARS_PAUSE_S
            due = [
                peer
                for peer in self._shared.peers.values()
                if self._heartbeat_due(peer, now_s) or peer.outbound.said_hears - self._heard_itself
            ]
            self._publish_now = False
            for peer in self._shared.peers.values():
                released = peer.outbound.release_held(now_s)
                if peer.outbound.on_time(now_s, self._rule) is not None or released:
                    self._flush_soon()
            if due:
                mine = self._presence.next()
                for peer in due:
                    peer.outbound.on_own_heartbeat(mine, self._next_s(peer, now_s, mine.count))
                    self._announce(peer)
            next_s = min((p.outbound.next_s() for p in self._shared.peers.values()), default=now_s + IDLE_S)
            wait_s = max(WAIT_MIN_S, next_s - now_s)
            pulse.renew(wait_s)
            if not self._publish_now:
                await self._wake.wait(wait_s)

    def _next_s(self, peer: SyncPeer, now_s: float, count: int) -> float:
        """When the next heartbeat is due: never in step with a link that comes and goes."""
        spread = 1.0 + SPREAD * (count * GOLDEN % 1.0 - 0.5)
        return now_s + spread * self._heartbeat_period_s(peer.node)

    def _heartbeat_due(self, peer: SyncPeer, now_s: float) -> bool:
        changed = self._publish_now
        narrow = changed and self._shared.narrow(peer.node)
        return peer.outbound.heartbeat_due(now_s, changed=changed, narrow=narrow, job=self._presence.job())

    def _flush_soon(self) -> None:
        """Have the timer fire when the first queue is due."""
        queues = [peer.outbound for peer in self._shared.peers.values()]
        due_s = min((outbound.due_s for outbound in queues if outbound.due_s is not None), default=None)
        if due_s is not None:
            self._flush_at(due_s)

    def _flush_at(self, due_s: float) -> None:
        """Have the timer fire by then."""
        if self._flush is not None and self._flush.when() <= due_s:
            return
        if self._flush is not None:
            self._flush.cancel()
        self._flush = asyncio.get_running_loop().call_at(due_s, self._flush_due)

    def _flush_due(self) -> None:
        self._flush = None
        now_s = loop_time_s()
        for peer in self._shared.peers.values():
            if peer.outbound.due_s is not None and peer.outbound.due_s <= now_s:
                self._announce(peer)
        self._flush_soon()

    def _announce(self, peer: SyncPeer) -> None:
        """Send a neighbour all that is new for it; what a failing disk or a fault keeps back goes later."""
        try:
            self._announce_all(peer)
        except Exception as error:
            name = self._shared.ledger.trust.name(peer.node)
            self._shared.supervisor.fault(f"telling {name} what is new", error)
            peer.outbound.on_failure(loop_time_s() + RETRY_S)
            self._flush_soon()

    def _announce_all(self, peer: SyncPeer) -> None:
        node, outbound, now_s = peer.node, peer.outbound, loop_time_s()
        narrow = self._shared.narrow(node)
        if outbound.wants_own_heartbeat(narrow=narrow):
            outbound.add_own_heartbeat(self._presence.next(), now_s + self._heartbeat_period_s(node))
        regular = outbound.own_heartbeat is not None and self._presence.others() > SMALL_FLEET
        found = outbound.take_announcements(
            self._own,
            outbound.take_heartbeats(self._shared.relayed(peer, now_s)),
            outbound.take_hears(self._heard_itself, now_s),
            digest=self._shared.digest_bytes() if regular else b"",
            last=self._store.last_sequence(),
            compressed=lambda entry, room: self._inside(entry, room, node),
        )
        for announcement in found:
            for entry, data in announcement.records:
                self._shared.count_record(node, entry.id, entry.record, data)
            message = announcement.message
            packed = pack_announce(message, self._store.incarnation)
            self._link.nudge(node, "n", packed)
            heartbeat_bytes, record_bytes = len(message.heartbeats), sum(map(len, message.inline))
            self._shared.traffic.add_exchange(
                node, len(packed) - record_bytes - heartbeat_bytes, heartbeat_bytes
            )

    def _inside(self, entry: Entry, room: int, node: NodeId) -> bytes | None:
        """The compressed record, if it fits and the neighbour can hardly have it: it was made here or came
        from afar; or if the neighbour is far, where a round trip costs more than some hundred bytes."""
        made_here = entry.source == b""
        if not (made_here or self._far(entry.source) or self._far(node)):
            return None
        stored = self._store.get(entry.id) if entry.size_bytes <= 2 * room else None
        data = self._shared.shorten(stored) if stored is not None else None
        return data if data is not None and len(data) + 5 <= room else None

    def _far(self, node: NodeId) -> bool:
        peer = self._shared.peers.get(node)
        if peer is None:
            return False
        rtt_s = peer.speed.rtt_s
        return self._shared.narrow(node) or (rtt_s is not None and rtt_s > FAR_RTT_S)
