"""Hears what neighbours announce, and pulls what is lacking here; `Inbound` says what to ask.

One loop for each neighbour, so that a slow one holds up nobody else.  Any failure is answered by asking
again, later and later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from muster.network.supervisor import Pulse
from muster.network.sync.heartbeat import unpack_heartbeats
from muster.network.sync.inbound import AskChanges, AskRecords
from muster.network.sync.messages import (
    PREFIX_BYTES,
    RECORDS_MAX,
    WIRE,
    Since,
    WrongWire,
    pack,
    unpack_announce,
    unpack_changes,
    unpack_list,
)
from muster.network.sync.peers import SyncContext, SyncPeer, loop_time_s
from muster.network.sync.record_compression.compressor import CannotDecompress
from muster.network.transport.link import Refused, Unreachable
from muster.network.transport.offences import CUT_S
from muster.network.trust.signing import UnknownAuthor
from muster.protocol.envelope import UNREADABLE, RecordError, unpack
from muster.protocol.ids import NOBODY, NodeId
from muster.storage.store import StorageError

RECORD_BYTES = 400  # about what one takes in an answer
CHANGES_BYTES = 3000  # about what a long list of changes takes
RETRY_S = 1.0
CONTACT_PAUSE_S = 4.0  # after such a silence a neighbour may have missed what was said to it
RETRY_MAX_S = 30.0


class RecordSync:
    """`run` goes on as long as its neighbour is there."""

    def __init__(
        self,
        shared: SyncContext,
        on_back: Callable[[SyncPeer], None] = lambda peer: None,
        on_hears: Callable[[SyncPeer, frozenset[bytes]], None] = lambda peer, names: None,
        on_outdated: Callable[[SyncPeer], None] = lambda peer: None,
    ) -> None:
        """`on_back(peer)` is called when a neighbour is heard again after a silence, `on_hears(peer, names)`
        when it says whom it hears itself, `on_outdated(peer)` when it speaks of itself as it was before."""
        self._shared, self._on_back, self._on_hears = shared, on_back, on_hears
        self._on_outdated = on_outdated
        self._link, self._store, self._ledger = shared.link, shared.store, shared.ledger
        self._presence, self._compressor, self._traffic = shared.presence, shared.compressor, shared.traffic
        self._in_flight: dict[bytes, NodeId] = {}  # prefix -> the neighbour that is asked for it

    def forget(self, node: NodeId) -> None:
        """A neighbour went: what was asked of it is asked of others."""
        for prefix in [prefix for prefix, asked in self._in_flight.items() if asked == node]:
            del self._in_flight[prefix]
        self._wake_all()

    def on_announce(self, node: NodeId, payload: bytes) -> None:
        """Topic "n": take in the heartbeats and records inside, note which others there are."""
        peer = self._shared.peers.get(node)
        if peer is None or self._shared.offences.cut(node):
            return
        now_s = loop_time_s()
        silent_s, peer.heard_s = now_s - peer.heard_s, now_s
        if silent_s > CONTACT_PAUSE_S:
            self._on_back(peer)
        message = unpack_announce(payload, peer.inbound.incarnation)
        if message is None:
            peer.inbound.on_damaged()
            peer.wake.set()
            return
        self._hear(peer, message.heartbeats)
        understood = self._take_inline(message.inline[:RECORDS_MAX], node)
        peer.inbound.on_announce(message, self._has, understood=understood)
        if peer.inbound.incomplete:
            peer.wake.set()

    def _hear(self, peer: SyncPeer, data: bytes) -> None:
        """Take in what a neighbour says of nodes."""
        said, presence, relays = unpack_heartbeats(data, peer.node), self._presence, peer.outbound.relays
        presence.merge(said.heartbeats, peer.node)
        heard = [*said.heartbeats, *presence.merge_briefs(said.briefs, peer.node)]
        relays.on_said((h for h in heard if h.node in presence.table), loop_time_s())
        newer = presence.outdated(said.heartbeats, peer.node)
        relays.on_outdated(newer)
        if any(heartbeat.node == peer.node[:PREFIX_BYTES] for heartbeat in newer):
            self._on_outdated(peer)
        if said.digest and self._shared.digest_bytes().startswith(said.digest):
            peer.outbound.on_level()
        if said.hears is not None:
            self._on_hears(peer, said.hears)

    def _take_inline(self, inline: Sequence[bytes], node: NodeId) -> bool:
        """Take in the records inside an announcement; whether each is kept here now."""
        if not inline:
            return True
        understood = True
        try:
            with self._ledger.batch():
                for data in inline:
                    understood = self._announced(data, node) and understood
        except StorageError:
            return False
        return understood

    def _announced(self, data: bytes, node: NodeId) -> bool:
        """Take in a record inside an announcement; whether that is done with.  Raises StorageError."""
        try:
            return self._taken(self._compressor.decompress(data), node)
        except RecordError as error:  # the announcement itself is whole
            self._shared.offences.add(node, str(error))
        except (UnknownAuthor, CannotDecompress):
            pass
        return False  # of a refused one it may be the decompression that was wrong

    async def run(self, peer: SyncPeer, pulse: Pulse) -> None:
        """Ask one neighbour for what it has and this node lacks."""
        delay_s = RETRY_S
        while True:
            pause_s = self._shared.offences.pause_s(peer.node)
            pulse.renew(pause_s or None)
            if pause_s > 0:
                await asyncio.sleep(pause_s)
                pulse.renew(None)
            request = peer.inbound.next_request(self._in_flight, self._has)
            try:
                if isinstance(request, AskChanges):
                    await self._compare(peer, request, pulse)
                elif request is not None:
                    await self._pull(peer, request, pulse)
                else:
                    peer.wake.clear()
                    await peer.wake.wait()
                delay_s = RETRY_S
            except WrongWire as error:
                self._shared.report_problem(peer.node, str(error))
                self._shared.offences.add(peer.node, str(error))
                await asyncio.sleep(RETRY_MAX_S)
            except (Unreachable, Refused, UnknownAuthor, StorageError, *UNREADABLE) as error:
                peer.inbound.on_failure(unknown_author=isinstance(error, UnknownAuthor))
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, 2 * delay_s)

    async def _compare(self, peer: SyncPeer, request: AskChanges, pulse: Pulse) -> None:
        """Ask for the changes since the cursor."""
        digest = self._shared.digest_bytes()
        since = Since(WIRE, request.incarnation, request.cursor, digest, request.full_resync)
        changes = unpack_changes(await self._ask(peer, "c", pack(since), CHANGES_BYTES, pulse))
        self._hear(peer, changes.heartbeats)
        if peer.inbound.went_back(changes):
            self._shared.offences.add(peer.node, "its numbers go back")
        if peer.inbound.on_changes(changes, self._has):
            self._shared.save(peer)

    async def _pull(self, peer: SyncPeer, request: AskRecords, pulse: Pulse) -> None:
        """Ask for records and take them in. Raises UnknownAuthor, after all others of the answer."""
        for prefix in request.prefixes:
            self._in_flight[prefix] = peer.node
        try:
            topic, about_bytes = "R" if request.in_full else "r", len(request.prefixes) * RECORD_BYTES
            answer = unpack_list(await self._ask(peer, topic, pack(request.prefixes), about_bytes, pulse))
            with self._ledger.batch():
                misread, unknown = self._take_answer(answer, peer)
            peer.inbound.on_records(
                request, self._has, empty=not answer, misread=misread, unknown_author=unknown is not None
            )
            if unknown is not None:
                raise unknown
        finally:
            for prefix in request.prefixes:
                self._in_flight.pop(prefix, None)
            self._wake_all()

    def _take_answer(self, answer: Sequence[bytes], peer: SyncPeer) -> tuple[bool, UnknownAuthor | None]:
        """Take in what a neighbour answered; whether some of it was misread, and what an unknown author
        was met with."""
        unknown: UnknownAuthor | None = None
        misread = False
        for data in answer:
            try:
                wire = self._compressor.decompress(data)
                if not self._taken(wire, peer.node):
                    misread = misread or wire != data
                    if wire == data:  # of this neighbour only: another may have it rightly signed
                        peer.inbound.give_up(_named(wire)[1])
                        self._shared.offences.add(peer.node, self._ledger.refusals.last)
            except UnknownAuthor as error:
                unknown = error
            except (CannotDecompress, RecordError):
                misread = True
        return misread, unknown

    async def _ask(
        self, peer: SyncPeer, topic: str, request: bytes, answer_bytes: int, pulse: Pulse
    ) -> bytes:
        """Ask, and measure the link by how long the answer takes."""
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        self._traffic.add_exchange(peer.node, len(request))
        timeout_s = peer.speed.timeout_s(len(request) + answer_bytes)
        pulse.renew(timeout_s)
        try:
            answer = await self._link.ask(peer.node, topic, request, timeout_s=timeout_s)
        except Unreachable:
            if loop.time() - asked_s >= timeout_s:
                peer.speed.add_timeout()
            raise
        peer.speed.add_sample(len(request) + len(answer), loop.time() - asked_s)
        return answer

    def _has(self, prefix: bytes) -> bool:
        if self._ledger.refused(prefix) or self._ledger.outdated(prefix):
            return True
        if prefix in self._shared.passed_over:
            return True
        return bool(self._store.find(prefix))

    def _taken(self, wire: bytes, node: NodeId) -> bool:
        """Take a record in; whether that is done with, also as it was refused for what it says. Else it is
        no record, or the decompression was wrong."""
        author, prefix = _named(wire)
        if self._shared.authors.cut(author):
            self._shared.pass_over(prefix, author)
            return True
        if self._ledger.receive(wire, node) is not None:
            return True
        refused = self._ledger.refused(prefix)
        if refused:
            self._offended(author, node, self._ledger.refusals.last)
        return refused

    def _offended(self, author: NodeId, node: NodeId, reason: str) -> None:
        """A record was refused: its author's fault, and not that of a neighbour who passes it on."""
        if author in (node, NOBODY):  # anybody can make what has no author
            self._shared.offences.add(node, reason)
        if author not in (self._presence.node, NOBODY) and self._shared.authors.add(author, reason):
            name = self._ledger.trust.name(author)
            self._shared.supervisor.once(f"taking what {name} makes again", self._take_again(author))

    async def _take_again(self, author: NodeId) -> None:
        """When its time is over: ask for all that was passed over of an author."""
        await asyncio.sleep(CUT_S)
        if self._shared.forget_passed_over(author):
            for peer in self._shared.peers.values():
                peer.inbound.begin_incarnation(peer.inbound.incarnation)
                peer.wake.set()

    def _wake_all(self) -> None:
        for peer in self._shared.peers.values():
            if peer.inbound.incomplete:
                peer.wake.set()


def _named(wire: bytes) -> tuple[NodeId, bytes]:
    """A record's author, as it says, and the beginning of its id; twice b"" for what is none."""
    try:
        signed = unpack(wire)
    except RecordError:
        return NOBODY, b""
    return signed.author, signed.id[:PREFIX_BYTES]
