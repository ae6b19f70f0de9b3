"""Telling neighbours what is new: records and beats, in announcements as rare as the link needs them.

A small record goes inside the announcement of its author, in short form (`shorthand`), as its neighbours
cannot have it yet; everybody else announces the 8-byte prefix of its id only, so that in a mesh no record is
sent twice.  On a narrow link (`pace`) words are rare and ride with records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from muster.network.change_signal import ChangeSignal
from muster.network.sync.deferred import DeferredRecords
from muster.network.sync.ledger import Entry
from muster.network.sync.messages import PREFIX_BYTES, Announce, pack_announce, pack_heartbeats
from muster.network.sync.presence import Heartbeat
from muster.network.sync.state import CHANGES_MAX, Peer, SyncContext, loop_time_s
from muster.protocol.records import NodeId

NUDGE_BYTES_MAX = 5600  # a record with the largest inline payload; over one batch it goes in pieces
HEARTBEAT_BYTES = 20
HEARTBEATS_A_NUDGE_MAX = 12
FLUSH_S = 0.01  # records made together are announced together
FLUSH_NARROW_S = 0.1  # on a narrow link: a commit and the plan that follows it go together
LINGER_S = {"measurement": 10.0, "contribution": 30.0, "refusal": 10.0}  # there these wait for company
FAR_RTT_S = 0.2  # beyond it a small record is passed on whole, without waiting to be asked for
RELAY_S = 60.0  # on a narrow link: between two relays of others' words


class Announcer:
    """`tick` runs for ever."""

    def __init__(
        self, shared: SyncContext, holding: DeferredRecords, heartbeat_period_s: Callable[[NodeId], float]
    ) -> None:
        self._shared, self._holding, self._beat_period_s = shared, holding, heartbeat_period_s
        self._link, self._store, self._presence = shared.link, shared.store, shared.presence
        self._shorthand, self._traffic = shared.shorthand, shared.traffic
        self._flush: asyncio.TimerHandle | None = None
        self._hurry = False
        self._beat_now = ChangeSignal()

    def close(self) -> None:
        if self._flush:
            self._flush.cancel()

    def publish_heartbeat(self) -> None:
        """Send this node's word to the neighbours now (its state changed in a way that others wait for)."""
        self._hurry = True
        self._beat_now.notify()

    def greet(self, peer: Peer) -> None:
        """A neighbour that came: what it is to be told first."""
        node, now_s = peer.node, loop_time_s()
        others = [h for h in self._presence.heartbeats() if h.node != node[:PREFIX_BYTES]]
        peer.fresh_heartbeats = {h.node: h for h in others}
        peer.last = self._store.last_sequence()
        peer.count = int(now_s * 1000) & 0x7FFF  # another than in the last session, most likely
        peer.relay_due_s = now_s + RELAY_S

    def queue(self, peer: Peer, entry: Entry) -> None:
        """To be announced to a neighbour now, soon with others, or when it was held back long enough."""
        if self._holding.hold_back(peer, entry):
            self._beat_now.notify()  # the ticker looks when the next one is due
            return
        now_s, narrow = loop_time_s(), self._shared.narrow(peer.node)
        peer.outbox.append(entry)
        if len(peer.outbox) > CHANGES_MAX:  # far behind: it asks by its cursor instead
            peer.outbox.clear()
            peer.count += 1
        delay_s = LINGER_S.get(entry.record.KIND, FLUSH_NARROW_S) if narrow else FLUSH_S
        peer.due_s = min(peer.due_s or now_s + delay_s, now_s + delay_s)
        self._flush_soon()

    def on_heartbeat(self, heartbeat: Heartbeat) -> None:
        for peer in self._shared.peers.values():
            if heartbeat.node != peer.node[:PREFIX_BYTES]:
                peer.fresh_heartbeats[heartbeat.node] = heartbeat

    def _flush_soon(self) -> None:
        due_s = min((p.due_s for p in self._shared.peers.values() if p.due_s is not None), default=None)
        if due_s is None or (self._flush is not None and self._flush.when() <= due_s):
            return
        if self._flush is not None:
            self._flush.cancel()
        self._flush = asyncio.get_running_loop().call_at(due_s, self._flush_all)

    def _flush_all(self) -> None:
        self._flush = None
        now_s = loop_time_s()
        for peer in self._shared.peers.values():
            if peer.due_s is not None and peer.due_s <= now_s:
                self._announce(peer)
        self._flush_soon()

    def _announce(self, peer: Peer) -> None:
        """Tell a neighbour all that is new for it, in nudges small enough to pass in one piece."""
        peer.due_s = None
        heartbeats = self._heartbeats_for(peer)
        while True:
            some, heartbeats = heartbeats[:HEARTBEATS_A_NUDGE_MAX], heartbeats[HEARTBEATS_A_NUDGE_MAX:]
            words = pack_heartbeats(some, self._presence.node[:PREFIX_BYTES])
            message = Announce(peer.count, peer.last, [], [], words)
            room = NUDGE_BYTES_MAX - 40 - HEARTBEAT_BYTES * len(some)
            taken = records_bytes = 0
            for entry in peer.outbox:
                short = self._small(entry, room, peer)
                room -= len(short) + 5 if short is not None else 14
                if room < 0:
                    break
                taken += 1
                if short is not None:
                    message.inline.append(short)
                    records_bytes += len(short)
                    self._shared.count_record(peer.node, entry.id, entry.record, short)
                else:
                    message.ids.append((entry.sequence, entry.id[:PREFIX_BYTES]))
            peer.outbox = peer.outbox[taken:]
            if not peer.outbox:
                message.last = peer.last = self._store.last_sequence()
            if message.tells:
                message.count = peer.count = peer.count + 1
            data = pack_announce(message, self._store.incarnation)
            self._link.nudge(peer.node, "n", data)
            self._traffic.add_exchange(peer.node, len(data) - records_bytes - len(words), len(words))
            if not peer.outbox and not heartbeats:
                return

    def _heartbeats_for(self, peer: Peer) -> list[Heartbeat]:
        """The words that go with an announcement: all that is fresh, on a narrow link one's own."""
        now_s = loop_time_s()
        if not self._shared.narrow(peer.node):
            heartbeats = list(peer.fresh_heartbeats.values())
            peer.fresh_heartbeats.clear()
            return heartbeats
        mine = peer.fresh_heartbeats.pop(self._presence.node[:PREFIX_BYTES], None)
        if mine is None and peer.outbox:
            mine = self._presence.next()  # it rides along, and the next one of its own can wait
            peer.heartbeat_due_s = now_s + self._beat_period_s(peer.node)
        heartbeats = [mine] if mine else []
        if now_s >= peer.relay_due_s and peer.fresh_heartbeats:
            peer.relay_due_s = now_s + RELAY_S
            heartbeats += peer.fresh_heartbeats.values()
            peer.fresh_heartbeats.clear()
        return heartbeats

    def _small(self, entry: Entry, room: int, peer: Peer) -> bytes | None:
        """The whole record, if it fits and the neighbour can hardly have it: it was made here or came from
        afar; or if it is far away, where a round trip costs more than a few hundred bytes too many."""
        made_here = entry.source == b""
        if not (made_here or self._far(entry.source) or self._far(peer.node)):
            return None
        stored = self._store.get(entry.id) if entry.size_bytes <= 2 * room else None
        short = self._shorthand.shorten(stored.id, stored.wire) if stored is not None else None
        return short if short is not None and len(short) + 5 <= room else None

    def _far(self, node: NodeId) -> bool:
        peer = self._shared.peers.get(node)
        if peer is None:
            return False
        rtt_s = peer.speed.rtt_s
        return self._shared.narrow(node) or (rtt_s is not None and rtt_s > FAR_RTT_S)

    async def tick(self) -> None:
        """Beats: this node's own word and those heard meanwhile, as often as the link can bear."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            due = [p for p in self._shared.peers.values() if p.heartbeat_due_s <= now or self._hurries(p)]
            self._hurry = False
            for peer in self._shared.peers.values():
                if peer.withheld and self._holding.release(peer, now):
                    self._flush_soon()
            if due:
                mine = self._presence.next()
                for peer in due:
                    peer.told_job = mine.job
                    peer.fresh_heartbeats[mine.node] = mine
                    peer.heartbeat_due_s = now + self._beat_period_s(peer.node)
                    self._announce(peer)
            next_s = min((p.heartbeat_due_s for p in self._shared.peers.values()), default=now + 60.0)
            held_s = (until_s for p in self._shared.peers.values() for until_s, _ in p.withheld.values())
            next_s = min(next_s, min(held_s, default=next_s))
            if not self._hurry:
                await self._beat_now.wait(max(0.05, next_s - now))

    def _hurries(self, peer: Peer) -> bool:
        """A narrow link is spared every change of state but that to another job."""
        if not self._hurry or not self._shared.narrow(peer.node):
            return self._hurry
        return peer.heartbeat_due_s == 0.0 or self._presence.job() != peer.told_job
