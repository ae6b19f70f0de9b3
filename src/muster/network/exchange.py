"""State, not messages: neighbours compare what they have and pull what they lack (design section 2.2).

Every store numbers its records as they come.  A node remembers for each neighbour the number up to which
it has dealt with everything (its cursor).  News is announced by nudges, which are counted; a lost one shows
as a gap at the next one (or the next beat) and is healed by asking for the changes since the cursor.  A small
record goes inside the announcement of its author, in short form (`shorthand`), as its neighbours cannot have
it yet; everybody else announces the 8-byte prefix of its id only, so that in a mesh no record is sent twice.

On a narrow link (`pace`) words are rare and ride with records, and what a neighbour does not need now is held
back (`Interest`): another node's update is wanted by whoever coordinates, and by nobody once it is counted.
What is held back is announced when its time is over, so that a neighbour hears of everything that still
matters; which time that is is no matter of correctness.

What the messages look like: `exchange_wire`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from muster.network.exchange_wire import (
    PREFIX_BYTES,
    WIRE,
    Announce,
    Changes,
    Since,
    WrongWire,
    pack,
    pack_announce,
    pack_beats,
    unpack_announce,
    unpack_beats,
    unpack_changes,
    unpack_list,
    unpack_since,
)
from muster.network.identity import UnknownAuthor
from muster.network.ledger import Entry, Ledger, job_of
from muster.network.link import Link, Refused, Unreachable
from muster.network.pace import Pace
from muster.network.presence import Beat, Presence
from muster.network.pulse import Pulse
from muster.network.shorthand import Shorthand, Unknown, blobs, payload_bytes
from muster.network.tally import Tally
from muster.records import NodeId, Record, RecordError, decode, record_id, unpack
from muster.storage.store import StorageError, Store, StoredRecord

NUDGE_BYTES_MAX = 5600  # a record with the largest inline payload; over one batch it goes in pieces
BEAT_BYTES = 20
BEATS_A_NUDGE_MAX = 12
CHANGES_MAX = 1000
RECORDS_MAX = 64
REPLY_BYTES_MAX = 48 * 1024
REJECTED_MAX = 4096
FLUSH_S = 0.01  # records made together are announced together
FLUSH_NARROW_S = 0.1  # on a narrow link: a commit and the plan that follows it go together
LINGER_S = {"measurement": 10.0, "contribution": 30.0, "refusal": 10.0}  # there these wait for company
ASK_TIMEOUT_S = 30.0
RETRY_S = 1.0
FAR_RTT_S = 0.2  # beyond it a small record is passed on whole, without waiting to be asked for
RETRY_MAX_S = 30.0
RELAY_S = 60.0  # on a narrow link: between two relays of others' words
RELEASED_S = 600.0  # by then an announcement that was lost has shown, or the session is over
_COUNTS_REMEMBERED = 16


@dataclass(frozen=True)
class Hold:
    """A record that only the neighbour `towards` needs now; the others hear of it after `hold_s`."""

    towards: NodeId  # b"": nobody
    hold_s: float


class Interest(Protocol):
    """What is known, above, of who needs which record."""

    def hold(self, author: NodeId, record: Record) -> Hold | None:
        """None: whoever lacks it is told at once."""

    def settled(self, author: NodeId, record: Record) -> bool:
        """Whether nobody will ever need it, since something else stands for it."""

    def pending(self, *, spared: bool) -> list[bytes]:
        """Ids of records that are still to be dealt with and may have been held back from somebody;
        `spared`: from a neighbour of whom it is known that something was."""


@dataclass
class _Peer:
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
    fresh_beats: dict[bytes, Beat] = field(default_factory=dict)
    spared: bool = False  # something was held back from it, in this session or another one
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    beat_due_s: float = 0.0
    relay_due_s: float = 0.0
    told_job: bytes = b""
    pace: Pace = field(default_factory=Pace)


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
        narrow: Callable[[NodeId], bool | None] = lambda node: None,
        on_problem: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """`narrow`: whether a neighbour's link is below 64 kbit/s; None: it is to be found out here."""
        self._link, self._store, self._ledger, self._presence = link, store, ledger, presence
        self._beat_period_s, self._narrow, self._on_problem = beat_period_s, narrow, on_problem
        self.interest: Interest | None = None
        self.tally = Tally()
        self._shorthand = Shorthand(store, ledger.signer.node)
        self._problems: set[NodeId] = set()
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
        for kind in ("member", "plan"):
            for entry in self._ledger.load(kind):
                self._shorthand.note(entry.id, entry.author, entry.record)
        self._ledger.listeners.append(self._on_record)
        self._presence.watchers.append(self._on_beat)
        self._link.listen("n", self._on_announce)
        self._link.serve("c", self._serve_changes)
        self._link.serve("r", self._serve_records)
        self._link.serve("R", self._serve_in_full)
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

    def narrow(self, node: NodeId) -> bool:
        """Whether the link to a neighbour is to be spared words."""
        known = self._narrow(node)
        peer = self._peers.get(node)
        return known if known is not None else peer is not None and peer.pace.narrow()

    def rate_bytes_s(self, node: NodeId) -> float | None:
        """A rough measure of a neighbour's link, from small questions; None while too little is known."""
        peer = self._peers.get(node)
        return peer.pace.rate_bytes_s() if peer else None

    # ---- outgoing -----------------------------------------------------------------------------------

    def _on_record(self, entry: Entry) -> None:
        self._mix(entry.id)
        for blob in blobs(entry.record):
            self.tally.belongs(blob, job_of(entry.record, entry.id))
        self._shorthand.note(entry.id, entry.author, entry.record)
        for peer in self._peers.values():
            if peer.node != entry.source:
                self._queue(peer, entry)

    def _queue(self, peer: _Peer, entry: Entry) -> None:
        """To be announced to a neighbour now, soon with others, or when it was held back long enough."""
        now_s = asyncio.get_running_loop().time()
        narrow = self.narrow(peer.node)
        if narrow and (until_s := self._held_until_s(peer, entry, now_s)) is not None:
            peer.withheld[entry.id] = (until_s, entry)
            if not peer.spared:
                peer.spared = True
                self._save_cursor(peer)
            self._beat_now.beat()  # the ticker looks when the next one is due
            return
        peer.outbox.append(entry)
        if len(peer.outbox) > CHANGES_MAX:  # far behind: it asks by its cursor instead
            peer.outbox.clear()
            peer.count += 1
        delay_s = LINGER_S.get(entry.record.KIND, FLUSH_NARROW_S) if narrow else FLUSH_S
        peer.due_s = min(peer.due_s or now_s + delay_s, now_s + delay_s)
        self._flush_soon()

    def _held_until_s(self, peer: _Peer, entry: Entry, now_s: float) -> float | None:
        hold = self.interest.hold(entry.author, entry.record) if self.interest else None
        if hold is None or hold.towards == peer.node or len(peer.withheld) >= CHANGES_MAX:
            return None
        if hold.towards != b"" and hold.towards not in self._peers:
            return None  # the way to whoever needs it is lost: tell everybody
        return now_s + hold.hold_s

    def _release(self, peer: _Peer, now_s: float) -> None:
        """What was held back long enough and still matters is announced after all."""
        for entry_id, (until_s, entry) in list(peer.withheld.items()):
            if self._settled(entry.author, entry.record):
                del peer.withheld[entry_id]
            elif until_s <= now_s:
                del peer.withheld[entry_id]
                peer.outbox.append(entry)
                peer.released[entry_id] = now_s, entry
                peer.due_s = now_s
                self._flush_soon()
        for entry_id, (told_s, _) in list(peer.released.items()):  # oldest first
            if len(peer.released) <= CHANGES_MAX and told_s > now_s - RELEASED_S:
                break
            del peer.released[entry_id]

    def _settled(self, author: NodeId, record: Record) -> bool:
        return self.interest is not None and self.interest.settled(author, record)

    def _on_beat(self, beat: Beat) -> None:
        for peer in self._peers.values():
            if beat.node != peer.node[:PREFIX_BYTES]:
                peer.fresh_beats[beat.node] = beat

    def _flush_soon(self) -> None:
        due_s = min((p.due_s for p in self._peers.values() if p.due_s is not None), default=None)
        if due_s is None or (self._flush is not None and self._flush.when() <= due_s):
            return
        if self._flush is not None:
            self._flush.cancel()
        self._flush = asyncio.get_running_loop().call_at(due_s, self._flush_all)

    def _flush_all(self) -> None:
        self._flush = None
        now_s = asyncio.get_running_loop().time()
        for peer in self._peers.values():
            if peer.due_s is not None and peer.due_s <= now_s:
                self._announce(peer)
        self._flush_soon()

    def _announce(self, peer: _Peer) -> None:
        """Tell a neighbour all that is new for it, in nudges small enough to pass in one piece."""
        peer.due_s = None
        beats = self._beats_for(peer)
        while True:
            some, beats = beats[:BEATS_A_NUDGE_MAX], beats[BEATS_A_NUDGE_MAX:]
            words = pack_beats(some, self._presence.node[:PREFIX_BYTES])
            message = Announce(peer.count, peer.last, [], [], words)
            room = NUDGE_BYTES_MAX - 40 - BEAT_BYTES * len(some)
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
                    self._count_record(peer.node, entry.id, entry.record, short)
                else:
                    message.ids.append((entry.sequence, entry.id[:PREFIX_BYTES]))
            peer.outbox = peer.outbox[taken:]
            if not peer.outbox:
                message.last = peer.last = self._store.last_sequence()
            if message.tells:
                message.count = peer.count = peer.count + 1
            data = pack_announce(message, self._store.incarnation)
            self._link.nudge(peer.node, "n", data)
            self.tally.told(peer.node, len(data) - records_bytes - len(words), len(words))
            if not peer.outbox and not beats:
                return

    def _beats_for(self, peer: _Peer) -> list[Beat]:
        """The words that go with an announcement: all that is fresh, on a narrow link one's own."""
        now_s = asyncio.get_running_loop().time()
        if not self.narrow(peer.node):
            beats = list(peer.fresh_beats.values())
            peer.fresh_beats.clear()
            return beats
        mine = peer.fresh_beats.pop(self._presence.node[:PREFIX_BYTES], None)
        if mine is None and peer.outbox:
            mine = self._presence.tick()  # it rides along, and the next one of its own can wait
            peer.beat_due_s = now_s + self._beat_period_s(peer.node)
        beats = [mine] if mine else []
        if now_s >= peer.relay_due_s and peer.fresh_beats:
            peer.relay_due_s = now_s + RELAY_S
            beats += peer.fresh_beats.values()
            peer.fresh_beats.clear()
        return beats

    def _small(self, entry: Entry, room: int, peer: _Peer) -> bytes | None:
        """The whole record, if it fits and the neighbour can hardly have it: it was made here, or the
        neighbour is far away, where a round trip costs more than a few hundred bytes too many."""
        far = peer.pace.rtt_s is not None and peer.pace.rtt_s > FAR_RTT_S
        if entry.source != b"" and not far and not self.narrow(peer.node):
            return None
        stored = self._store.get(entry.id) if entry.size_bytes <= 2 * room else None
        short = self._shorthand.shorten(stored.id, stored.wire) if stored is not None else None
        return short if short is not None and len(short) + 5 <= room else None

    def _count_record(self, node: NodeId, name: bytes, record: Record, short: bytes) -> None:
        self.tally.record(node, name[:PREFIX_BYTES], job_of(record, name), len(short), payload_bytes(record))

    async def _tick(self) -> None:
        """Beats: this node's own word and those heard meanwhile, as often as the link can bear."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            due = [p for p in self._peers.values() if p.beat_due_s <= now or self._hurries(p)]
            self._hurry = False
            for peer in self._peers.values():
                if peer.withheld:
                    self._release(peer, now)
            if due:
                mine = self._presence.tick()
                for peer in due:
                    peer.told_job = mine.job
                    peer.fresh_beats[mine.node] = mine
                    peer.beat_due_s = now + self._beat_period_s(peer.node)
                    self._announce(peer)
            next_s = min((p.beat_due_s for p in self._peers.values()), default=now + 60.0)
            held_s = (until_s for p in self._peers.values() for until_s, _ in p.withheld.values())
            next_s = min(next_s, min(held_s, default=next_s))
            if not self._hurry:
                await self._beat_now.wait(max(0.05, next_s - now))

    def _hurries(self, peer: _Peer) -> bool:
        """A narrow link is spared every change of state but that to another job."""
        if not self._hurry or not self.narrow(peer.node):
            return self._hurry
        return peer.beat_due_s == 0.0 or self._presence.job() != peer.told_job

    # ---- incoming -----------------------------------------------------------------------------------

    def _on_announce(self, node: NodeId, payload: bytes) -> None:
        peer = self._peers.get(node)
        if peer is None:
            return
        message = unpack_announce(payload, peer.incarnation)
        if message is None:  # damaged, or of a life that is not known here yet: compare
            peer.gap = True
            peer.wake.set()
            return
        beats = unpack_beats(message.beats, node)
        self._presence.hear(beats)
        peer.fresh_beats |= {beat.node: beat for beat in self._presence.outdated(beats)}
        self._check_count(peer, message)
        for short in message.inline[:RECORDS_MAX]:
            try:
                if self._ledger.receive(self._shorthand.expand(short), node) is None:
                    peer.gap = True  # it may be the expansion that was wrong
            except (UnknownAuthor, StorageError, Unknown, RecordError):
                peer.gap = True
        for number, prefix in message.ids[:CHANGES_MAX]:
            self._want(peer, number, prefix)
        if not peer.gap:
            peer.covered = max(peer.covered, message.last)
        self._settle(peer)
        if peer.gap or peer.wanted:
            peer.wake.set()

    def _check_count(self, peer: _Peer, message: Announce) -> None:
        """Whether an announcement before this one was lost; one that comes twice or late is none."""
        if message.count in peer.counts:
            return
        before = message.count - 1 if message.tells else message.count
        if before not in peer.counts:
            peer.gap = True
        peer.counts.append(message.count)

    def _counted_up_to(self, peer: _Peer, count: int) -> bool:
        """A comparison covers all announcements up to this one; whether a later one is missing here."""
        later = [seen for seen in peer.counts if 0 < seen - count <= _COUNTS_REMEMBERED]
        peer.counts = deque([count, *sorted(later)], maxlen=_COUNTS_REMEMBERED)
        return bool(later) and max(later) - count != len(later)

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
            peer.last = self._store.last_sequence()
            now_s = asyncio.get_running_loop().time()
            peer.count = int(now_s * 1000) & 0x7FFF  # another than in the last session, most likely
            peer.relay_due_s = now_s + RELAY_S
            self._peers[node] = peer
            self._hold_back_again(peer)
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

    def _hold_back_again(self, peer: _Peer) -> None:
        """Records that it may have been spared in an earlier session, whose cursor has passed them."""
        if self.interest is None:
            return
        now_s = asyncio.get_running_loop().time()
        for entry_id in self.interest.pending(spared=peer.spared)[:CHANGES_MAX]:
            stored = self._store.get(entry_id)
            if stored is not None and stored.source != peer.node:
                entry = _entry(stored)
                until_s = self._held_until_s(peer, entry, now_s)
                peer.withheld[entry_id] = (now_s if until_s is None else until_s, entry)

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
            except WrongWire as error:
                self._tell_problem(peer.node, str(error))
                await asyncio.sleep(RETRY_MAX_S)
            except (Unreachable, Refused, UnknownAuthor, msgspec.MsgspecError, StorageError) as error:
                peer.stranger = isinstance(error, UnknownAuthor)
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, 2 * delay_s)

    def _tell_problem(self, node: NodeId, sentence: str) -> None:
        """Once for each neighbour."""
        if node not in self._problems and len(self._problems) < CHANGES_MAX:
            self._problems.add(node)
            self._on_problem(f"nothing is exchanged with {self._ledger.roll.name(node)}: {sentence}")

    async def _ask(self, peer: _Peer, topic: str, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        self.tally.told(peer.node, len(request))
        answer = await self._link.ask(peer.node, topic, request, timeout_s=ASK_TIMEOUT_S)
        peer.pace.took(len(request) + len(answer), loop.time() - asked_s)
        return answer

    async def _compare(self, peer: _Peer) -> None:
        since = Since(WIRE, peer.incarnation, peer.cursor, self._digest_bytes(), peer.anew)
        changes = unpack_changes(await self._ask(peer, "c", pack(since)))
        self._presence.hear(unpack_beats(changes.beats, peer.node))
        if changes.incarnation != peer.incarnation:
            self._new_life(peer, changes.incarnation)
        for number, prefix in changes.entries:
            self._want(peer, number, prefix)
        peer.covered = max(peer.covered, changes.last)
        full = len(changes.entries) >= CHANGES_MAX
        peer.gap = self._counted_up_to(peer, changes.count) or full
        peer.anew = peer.anew and full
        self._settle(peer)
        if not peer.wanted:
            self._save_cursor(peer)

    async def _pull(self, peer: _Peer, prefixes: list[bytes]) -> None:
        """Ask for records, in short form first; where an author was unknown, for all of them in full: his
        certificate is among them, and what cannot be expanded must not keep it waiting."""
        fully = prefixes if peer.stranger else [prefix for prefix in prefixes if prefix in peer.plainly]
        prefixes = fully or prefixes
        for prefix in prefixes:
            self._asked[prefix] = peer.node
        try:
            answer = unpack_list(await self._ask(peer, "R" if fully else "r", pack(prefixes)))
            unknown: UnknownAuthor | None = None
            doubtful = False  # a short form did not expand, or not to what its author signed
            for data in answer:
                try:
                    wire = self._shorthand.expand(data)
                    if self._ledger.receive(wire, peer.node) is None:
                        doubtful = doubtful or wire != data
                        if wire == data:
                            self._reject(wire)
                except UnknownAuthor as error:  # the others of this answer may be fine
                    unknown = error
                except (Unknown, RecordError):
                    doubtful = True
            if not answer:  # it no longer has them
                for prefix in prefixes:
                    peer.wanted.pop(prefix, None)
            self._settle(peer)
            peer.plainly = {p for p in (*peer.plainly, *(prefixes if doubtful else ())) if p in peer.wanted}
            if unknown is not None:
                raise unknown
            peer.stranger = False
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
        peer.counts.clear()

    # ---- serving ------------------------------------------------------------------------------------

    async def _serve_changes(self, node: NodeId, payload: bytes) -> bytes:
        try:
            request = unpack_since(payload)
        except WrongWire as error:
            self._tell_problem(node, str(error))
            raise Refused(str(error)) from error
        cursor = request.cursor if request.incarnation == self._store.incarnation else 0
        last = self._store.last_sequence()
        entries: list[tuple[int, bytes]] = []
        if request.digest != self._digest_bytes():
            stored = self._store.since(cursor, CHANGES_MAX)
            every = request.anew or cursor == 0
            wanted = [s for s in stored if (every or s.source != node) and not self._spared(node, s)]
            entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in wanted]
            last = stored[-1].sequence if len(stored) >= CHANGES_MAX else last
            if len(stored) >= CHANGES_MAX:  # keep the list full, or the asker takes it for the last one
                entries = [(s.sequence, s.id[:PREFIX_BYTES]) for s in stored]
            elif (peer := self._peers.get(node)) is not None:
                late = [e for _, e in peer.released.values() if e.sequence <= cursor]
                late = [e for e in late if not self._settled(e.author, e.record)]
                entries = [(e.sequence, e.id[:PREFIX_BYTES]) for e in late] + entries
        words = pack_beats(self._presence.beats(), self._presence.node[:PREFIX_BYTES])
        count = self._peers[node].count if node in self._peers else 0
        answer = pack(Changes(WIRE, self._store.incarnation, last, count, entries, words))
        self.tally.told(node, len(answer) - len(words), len(words))
        return answer

    def _spared(self, node: NodeId, stored: StoredRecord) -> bool:
        """Whether a neighbour behind a narrow link is not told of a record now."""
        peer = self._peers.get(node)
        if peer is None or not self.narrow(node):
            return False
        if stored.id in peer.withheld:
            return True
        if stored.kind != "update":
            return False
        entry = _entry(stored)
        return self._settled(entry.author, entry.record)

    async def _serve_records(self, node: NodeId, payload: bytes) -> bytes:
        return pack(self._records_for(node, unpack_list(payload), in_full=False))

    async def _serve_in_full(self, node: NodeId, payload: bytes) -> bytes:
        return pack(self._records_for(node, unpack_list(payload), in_full=True))

    def _records_for(self, node: NodeId, prefixes: list[bytes], *, in_full: bool) -> list[bytes]:
        found = [self._store.get(i) for prefix in prefixes[:RECORDS_MAX] for i in self._store.find(prefix)]
        answer: list[bytes] = []
        size = 0
        # in the order in which they came here: what a record in short form refers to goes before it
        for stored in sorted((s for s in found if s is not None), key=lambda s: s.sequence):
            data = stored.wire if in_full else self._shorthand.shorten(stored.id, stored.wire)
            if not answer or size + len(data) <= REPLY_BYTES_MAX:
                answer.append(data)
                size += len(data)
                self._count_record(node, stored.id, _entry(stored).record, data)
        return answer

    # ---- cursors ------------------------------------------------------------------------------------

    def _load_cursor(self, peer: _Peer) -> None:
        kept = self._store.state("cursor/" + peer.node.hex())
        if kept:
            peer.incarnation, peer.cursor, *rest = msgspec.msgpack.decode(kept, type=tuple[int, ...])
            peer.spared = any(rest)
            peer.covered = peer.cursor
            peer.anew = peer.cursor == 0

    def _save_cursor(self, peer: _Peer) -> None:
        with contextlib.suppress(StorageError):  # without it the next comparison is longer, no more
            kept = msgspec.msgpack.encode((peer.incarnation, peer.cursor, int(peer.spared)))
            self._store.set_state("cursor/" + peer.node.hex(), kept)

    def _mix(self, identifier: bytes) -> None:
        """An order-free digest of all ids: equal digests mean equal contents (128 bits)."""
        self._digest ^= int.from_bytes(identifier[16:], "little")

    def _digest_bytes(self) -> bytes:
        return self._digest.to_bytes(16, "little")


def _entry(stored: StoredRecord) -> Entry:
    """A kept record as the listeners get it; it was verified on its way in."""
    signed = unpack(stored.wire)
    record = decode(signed.body)
    return Entry(stored.id, signed.author, record, stored.source, stored.sequence, len(stored.wire))
