"""State, not messages: neighbours compare what they have and pull what they lack (design section 2.2).

Every store numbers its records as they come.  A node remembers for each neighbour the number up to which
it has dealt with everything (its cursor).  News is announced by nudges that name the numbers they cover; a
lost nudge shows as a gap at the next one (or the next beat) and is healed by asking for the changes since
the cursor.  A small record goes inside the announcement of its author, whose neighbours cannot have it yet;
everybody else announces the 8-byte prefix of its id only, so that in a mesh no record is sent twice.

Topics: nudge "n" (Announce), ask "c" (Since -> Changes), ask "r" (list of prefixes -> list of envelopes).
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from muster.network.identity import UnknownAuthor
from muster.network.ledger import Entry, Ledger
from muster.network.link import Link, Refused, Unreachable
from muster.network.presence import Beat, Presence
from muster.network.pulse import Pulse
from muster.records import NodeId, RecordError, record_id, unpack
from muster.storage.store import StorageError, Store

PREFIX_BYTES = 8
NUDGE_BYTES_MAX = 5600  # a record with the largest inline payload; over one batch it goes in pieces
BEAT_BYTES = 32
BEATS_A_NUDGE_MAX = 12
CHANGES_MAX = 1000
RECORDS_MAX = 64
REPLY_BYTES_MAX = 48 * 1024
REJECTED_MAX = 4096
FLUSH_S = 0.01  # records made together are announced together
ASK_TIMEOUT_S = 30.0
RETRY_S = 1.0
FAR_RTT_S = 0.2  # beyond it a small record is passed on whole, without waiting to be asked for
RETRY_MAX_S = 30.0


class Announce(msgspec.Struct, array_like=True):
    """What is new here. Numbers are the sender's own."""

    incarnation: int
    after: int  # every record up to here was announced earlier
    last: int  # every record up to here is announced now
    ids: list[tuple[int, bytes]]  # (number, prefix) of records to pull
    inline: list[bytes]  # records in full
    beats: list[Beat]


class Since(msgspec.Struct, array_like=True):
    incarnation: int  # of the answering store, as the asker knows it; 0 = unknown
    cursor: int
    digest: bytes  # of all that the asker has
    anew: bool  # the asker begins from nothing: it wants even what was learnt from its own former life


class Changes(msgspec.Struct, array_like=True):
    incarnation: int
    last: int  # the entries cover everything up to here
    entries: list[tuple[int, bytes]]
    beats: list[Beat]


_encode = msgspec.msgpack.Encoder().encode
_announce = msgspec.msgpack.Decoder(Announce)
_since = msgspec.msgpack.Decoder(Since)
_changes = msgspec.msgpack.Decoder(Changes)
_prefixes = msgspec.msgpack.Decoder(list[bytes])


@dataclass
class _Peer:
    """What is known of one neighbour's log, and what is to be told to it."""

    node: NodeId
    incarnation: int = 0
    cursor: int = 0
    told: int = 0  # my records up to this number were announced to it
    wanted: dict[bytes, int] = field(default_factory=dict)  # prefix -> the neighbour's number, <= CHANGES_MAX
    covered: int = 0  # once `wanted` is empty the cursor may move to here
    gap: bool = True
    stranger: bool = False  # the author of what is wanted is unknown: its Member record is behind the gap
    anew: bool = True  # nothing is known of its log yet
    outbox: list[Entry] = field(default_factory=list)
    fresh_beats: dict[bytes, Beat] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    beat_due_s: float = 0.0
    rtt_s: float | None = None  # the shortest round trip of a question


class Exchange:
    """Keeps this node's records and beats level with those of its direct neighbours."""

    def __init__(
        self,
        link: Link,
        store: Store,
        ledger: Ledger,
        presence: Presence,
        *,
        beat_period_s: Callable[[NodeId], float],
    ) -> None:
        self._link, self._store, self._ledger, self._presence = link, store, ledger, presence
        self._beat_period_s = beat_period_s
        self._peers: dict[NodeId, _Peer] = {}
        self._asked: dict[bytes, NodeId] = {}
        self._rejected: dict[bytes, None] = {}
        self._digest = 0
        self._flush: asyncio.TimerHandle | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._hurry = False
        self._beat_now = Pulse()

    async def start(self) -> None:
        after = 0
        while page := self._store.since(after, CHANGES_MAX):
            for stored in page:
                self._mix(stored.id)
            after = page[-1].sequence
        self._ledger.listeners.append(self._on_record)
        self._presence.watchers.append(self._on_beat)
        self._link.listen("n", self._on_announce)
        self._link.serve("c", self._serve_changes)
        self._link.serve("r", self._serve_records)
        self._link.watch(self._on_neighbour)
        for node in self._link.neighbours():
            self._on_neighbour(node, True)
        self._ticker = asyncio.get_running_loop().create_task(self._tick())

    async def close(self) -> None:
        tasks = [p.task for p in self._peers.values() if p.task] + ([self._ticker] if self._ticker else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._flush:
            self._flush.cancel()
        for peer in self._peers.values():
            self._save_cursor(peer)

    def hurry_beat(self) -> None:
        """Send this node's word to the neighbours now (its state changed in a way that others wait for)."""
        self._hurry = True
        self._beat_now.beat()

    # ---- outgoing -----------------------------------------------------------------------------------

    def _on_record(self, entry: Entry) -> None:
        self._mix(entry.id)
        for peer in self._peers.values():
            if peer.node != entry.source:
                peer.outbox.append(entry)
            if len(peer.outbox) > CHANGES_MAX:  # far behind: it asks by its cursor instead
                peer.outbox.clear()
                peer.told = entry.sequence
        self._flush_soon()

    def _on_beat(self, beat: Beat) -> None:
        for peer in self._peers.values():
            if beat.node != peer.node[:PREFIX_BYTES]:
                peer.fresh_beats[beat.node] = beat

    def _flush_soon(self) -> None:
        if self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(FLUSH_S, self._flush_all)

    def _flush_all(self) -> None:
        self._flush = None
        for peer in self._peers.values():
            self._announce(peer)

    def _announce(self, peer: _Peer) -> None:
        """Tell a neighbour all that is new for it, in nudges small enough to pass in one piece."""
        beats = list(peer.fresh_beats.values())
        peer.fresh_beats.clear()
        while True:
            some, beats = beats[:BEATS_A_NUDGE_MAX], beats[BEATS_A_NUDGE_MAX:]
            message = Announce(self._store.incarnation, peer.told, 0, [], [], some)
            room = NUDGE_BYTES_MAX - 40 - BEAT_BYTES * len(some)
            taken = 0
            for entry in peer.outbox:
                wire = self._small(entry, room, peer)
                room -= len(wire) + 5 if wire is not None else 14
                if room < 0:
                    break
                taken += 1
                if wire is not None:
                    message.inline.append(wire)
                else:
                    message.ids.append((entry.sequence, entry.id[:PREFIX_BYTES]))
            left = peer.outbox[taken:]
            message.last = peer.outbox[taken - 1].sequence if left and taken else message.after
            if not left:
                message.last = self._store.last_sequence()
            peer.outbox = left
            peer.told = message.last
            body = _encode(message)
            self._link.nudge(peer.node, "n", zlib.crc32(body).to_bytes(4, "big") + body)
            if not left and not beats:
                return

    def _small(self, entry: Entry, room: int, peer: _Peer) -> bytes | None:
        """The whole record, if it fits and the neighbour can hardly have it: it was made here, or the
        neighbour is far away, where a round trip costs more than a few hundred bytes too many."""
        far = peer.rtt_s is not None and peer.rtt_s > FAR_RTT_S
        if (entry.source != b"" and not far) or entry.size_bytes + 5 > room:
            return None
        stored = self._store.get(entry.id)
        return stored.wire if stored is not None else None

    async def _tick(self) -> None:
        """Beats: this node's own word and those heard meanwhile, as often as the link can bear."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            due = [p for p in self._peers.values() if p.beat_due_s <= now or self._hurry]
            self._hurry = False
            if due:
                mine = self._presence.tick()
                for peer in due:
                    peer.fresh_beats[mine.node] = mine
                    peer.beat_due_s = now + self._beat_period_s(peer.node)
                    self._announce(peer)
            next_s = min((p.beat_due_s for p in self._peers.values()), default=now + 60.0)
            if not self._hurry:
                await self._beat_now.wait(max(0.05, next_s - now))

    # ---- incoming -----------------------------------------------------------------------------------

    def _on_announce(self, node: NodeId, payload: bytes) -> None:
        peer = self._peers.get(node)
        body = payload[4:]
        if zlib.crc32(body).to_bytes(4, "big") != payload[:4]:
            return  # one flipped bit in `last`, and records would be missed for ever
        try:
            message = _announce.decode(body)
        except msgspec.MsgspecError:
            return
        self._presence.hear(message.beats)
        if peer is None:
            return
        if message.incarnation != peer.incarnation:
            self._new_life(peer, message.incarnation)
        for wire in message.inline[:RECORDS_MAX]:
            try:
                self._ledger.receive(wire, node)
            except (UnknownAuthor, StorageError):
                peer.gap = True
        for number, prefix in message.ids[:CHANGES_MAX]:
            self._want(peer, number, prefix)
        if message.after > max(peer.cursor, peer.covered):
            peer.gap = True
        elif not peer.gap:
            peer.covered = max(peer.covered, message.last)
        self._settle(peer)
        if peer.gap or peer.wanted:
            peer.wake.set()

    def _want(self, peer: _Peer, number: int, prefix: bytes) -> None:
        if prefix in self._rejected or self._store.find(prefix):
            return
        if len(peer.wanted) < CHANGES_MAX:
            peer.wanted[prefix] = number
        else:
            peer.gap = True

    def _settle(self, peer: _Peer) -> None:
        """Forget what has come meanwhile by another way; move the cursor when nothing is wanted."""
        for prefix in [p for p in peer.wanted if p in self._rejected or self._store.find(p)]:
            del peer.wanted[prefix]
        if not peer.wanted:
            peer.cursor = max(peer.cursor, peer.covered)

    def _on_neighbour(self, node: NodeId, up: bool) -> None:
        peer = self._peers.get(node)
        if up and peer is None:
            peer = _Peer(node)
            self._load_cursor(peer)
            peer.fresh_beats = {b.node: b for b in self._presence.beats() if b.node != node[:PREFIX_BYTES]}
            peer.told = self._store.last_sequence()
            self._peers[node] = peer
            peer.task = asyncio.get_running_loop().create_task(self._converse(peer))
            self.hurry_beat()
        elif not up and peer is not None:
            del self._peers[node]
            if peer.task:
                peer.task.cancel()
            self._save_cursor(peer)
            for prefix in [p for p, asked in self._asked.items() if asked == node]:
                del self._asked[prefix]
            self._wake_all()

    async def _converse(self, peer: _Peer) -> None:
        """One neighbour's pull loop; a slow neighbour holds up nobody else."""
        delay_s = RETRY_S
        while True:
            self._settle(peer)
            ready = [p for p in peer.wanted if p not in self._asked]
            ready.sort(key=lambda p: peer.wanted[p])  # a Member record stands before what its node wrote
            try:
                if peer.gap and (peer.stranger or not peer.wanted):
                    peer.stranger = False
                    await self._compare(peer)
                elif ready:
                    await self._pull(peer, ready[:RECORDS_MAX])
                else:
                    peer.wake.clear()
                    await peer.wake.wait()
                delay_s = RETRY_S
            except (Unreachable, Refused, UnknownAuthor, msgspec.MsgspecError, StorageError) as error:
                peer.stranger = isinstance(error, UnknownAuthor)
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, 2 * delay_s)

    async def _ask(self, peer: _Peer, topic: str, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        answer = await self._link.ask(peer.node, topic, request, timeout_s=ASK_TIMEOUT_S)
        rtt_s = loop.time() - asked_s
        peer.rtt_s = rtt_s if peer.rtt_s is None else min(peer.rtt_s, rtt_s)
        return answer

    async def _compare(self, peer: _Peer) -> None:
        request = _encode(Since(peer.incarnation, peer.cursor, self._digest_bytes(), peer.anew))
        answer = await self._ask(peer, "c", request)
        changes = _changes.decode(answer)
        self._presence.hear(changes.beats)
        if changes.incarnation != peer.incarnation:
            self._new_life(peer, changes.incarnation)
        for number, prefix in changes.entries:
            self._want(peer, number, prefix)
        peer.covered = max(peer.covered, changes.last)
        peer.gap = len(changes.entries) >= CHANGES_MAX
        peer.anew = peer.anew and peer.gap
        self._settle(peer)
        if not peer.wanted:
            self._save_cursor(peer)

    async def _pull(self, peer: _Peer, prefixes: list[bytes]) -> None:
        for prefix in prefixes:
            self._asked[prefix] = peer.node
        try:
            answer = await self._ask(peer, "r", _encode(prefixes))
            wires = _prefixes.decode(answer)
            unknown: UnknownAuthor | None = None
            for wire in wires:
                try:
                    if self._ledger.receive(wire, peer.node) is None:
                        self._reject(wire)
                except UnknownAuthor as error:  # the others of this answer may be fine
                    unknown = error
            if unknown is not None:
                raise unknown
            if not wires:  # it no longer has them
                for prefix in prefixes:
                    peer.wanted.pop(prefix, None)
        finally:
            for prefix in prefixes:
                self._asked.pop(prefix, None)
            self._wake_all()

    def _reject(self, wire: bytes) -> None:
        """A record that this node refused is not asked for again."""
        with contextlib.suppress(RecordError):
            signed = unpack(wire)
            self._rejected[record_id(signed.author, signed.body)[:PREFIX_BYTES]] = None
        while len(self._rejected) > REJECTED_MAX:
            del self._rejected[next(iter(self._rejected))]

    def _wake_all(self) -> None:
        for peer in self._peers.values():
            if peer.wanted or peer.gap:
                peer.wake.set()

    def _new_life(self, peer: _Peer, incarnation: int) -> None:
        """The neighbour's store is another one than last time: its numbers mean nothing any more."""
        peer.incarnation, peer.cursor, peer.covered, peer.gap = incarnation, 0, 0, True
        peer.anew = True
        peer.wanted.clear()

    # ---- serving ------------------------------------------------------------------------------------

    async def _serve_changes(self, node: NodeId, payload: bytes) -> bytes:
        request = _since.decode(payload)
        cursor = request.cursor if request.incarnation == self._store.incarnation else 0
        last = self._store.last_sequence()
        entries: list[tuple[int, bytes]] = []
        if request.digest != self._digest_bytes():
            stored = self._store.since(cursor, CHANGES_MAX)
            every = request.anew or cursor == 0
            entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in stored if every or s.source != node]
            last = stored[-1].sequence if len(stored) >= CHANGES_MAX else last
            if len(stored) >= CHANGES_MAX:  # keep the list full, or the asker takes it for the last one
                entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in stored]
        return _encode(Changes(self._store.incarnation, last, entries, self._presence.beats()))

    async def _serve_records(self, node: NodeId, payload: bytes) -> bytes:
        wires: list[bytes] = []
        size = 0
        for prefix in _prefixes.decode(payload)[:RECORDS_MAX]:
            for found in self._store.find(prefix):
                stored = self._store.get(found)
                if stored is not None and (not wires or size + len(stored.wire) <= REPLY_BYTES_MAX):
                    wires.append(stored.wire)
                    size += len(stored.wire)
        return _encode(wires)

    # ---- cursors ------------------------------------------------------------------------------------

    def _load_cursor(self, peer: _Peer) -> None:
        kept = self._store.state("cursor/" + peer.node.hex())
        if kept:
            peer.incarnation, peer.cursor = msgspec.msgpack.decode(kept, type=tuple[int, int])
            peer.covered = peer.cursor
            peer.anew = peer.cursor == 0

    def _save_cursor(self, peer: _Peer) -> None:
        with contextlib.suppress(StorageError):  # without it the next comparison is longer, no more
            self._store.set_state("cursor/" + peer.node.hex(), _encode((peer.incarnation, peer.cursor)))

    def _mix(self, identifier: bytes) -> None:
        """An order-free digest of all ids: equal digests mean equal contents (128 bits)."""
        self._digest ^= int.from_bytes(identifier[16:], "little")

    def _digest_bytes(self) -> bytes:
        return self._digest.to_bytes(16, "little")
