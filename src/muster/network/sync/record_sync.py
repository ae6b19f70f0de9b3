"""Hearing what a neighbour has that is lacking here, and pulling it.

News is announced by nudges, which are counted; a lost one shows as a gap at the next one (or the next beat)
and is healed by asking for the changes since the cursor.
"""

from __future__ import annotations

import asyncio
import contextlib

from muster.network.sync.messages import (
    PREFIX_BYTES,
    WIRE,
    Since,
    WrongWire,
    pack,
    unpack_announce,
    unpack_changes,
    unpack_heartbeats,
    unpack_list,
)
from muster.network.sync.record_compression import Unknown
from muster.network.sync.state import CHANGES_MAX, RECORDS_MAX, Peer, SyncContext
from muster.network.transport.link import Refused, Unreachable
from muster.network.trust.signing import UnknownAuthor
from muster.protocol.envelope import UNREADABLE, RecordError, record_id, unpack
from muster.protocol.records import NodeId
from muster.storage.store import StorageError

REJECTED_MAX = 4096
RECORD_BYTES = 400  # about what one takes in an answer
CHANGES_BYTES = 3000  # about what a long list of changes takes
RETRY_S = 1.0
RETRY_MAX_S = 30.0


class RecordSync:
    """`converse` runs as long as its neighbour is there."""

    def __init__(self, shared: SyncContext) -> None:
        self._shared = shared
        self._link, self._store, self._ledger = shared.link, shared.store, shared.ledger
        self._presence, self._shorthand, self._traffic = shared.presence, shared.shorthand, shared.traffic
        self._asked: dict[bytes, NodeId] = {}
        self._rejected: dict[bytes, None] = {}

    def forget(self, node: NodeId) -> None:
        """A neighbour went: what was asked of it is asked of others."""
        for prefix in [p for p, asked in self._asked.items() if asked == node]:
            del self._asked[prefix]
        self._wake_all()

    def on_announce(self, node: NodeId, payload: bytes) -> None:
        peer = self._shared.peers.get(node)
        if peer is None:
            return
        message = unpack_announce(payload, peer.incarnation)
        if message is None:  # damaged, or of a life that is not known here yet: compare
            peer.gap = True
            peer.wake.set()
            return
        heartbeats = unpack_heartbeats(message.heartbeats, node)
        self._presence.merge(heartbeats)
        peer.fresh_heartbeats |= {h.node: h for h in self._presence.outdated(heartbeats)}
        peer.check_count(message)
        for short in message.inline[:RECORDS_MAX]:
            try:
                if self._ledger.receive(self._shorthand.expand(short), node) is None:
                    peer.not_taken(message)  # it may be the expansion that was wrong
            except (UnknownAuthor, StorageError, Unknown, RecordError):
                peer.not_taken(message)
        for number, prefix in message.ids[:CHANGES_MAX]:
            self._want(peer, number, prefix)
        if not peer.gap:
            peer.covered = max(peer.covered, message.last)
        self._settle(peer)
        if peer.gap or peer.wanted:
            peer.wake.set()

    def _want(self, peer: Peer, number: int, prefix: bytes) -> None:
        if prefix in self._rejected or self._store.find(prefix):
            return
        if len(peer.wanted) < CHANGES_MAX:
            peer.wanted[prefix] = number
        else:
            peer.gap = True

    def _settle(self, peer: Peer) -> None:
        """Forget what has come meanwhile by another way; move the cursor when nothing is wanted."""
        for prefix in [p for p in peer.wanted if p in self._rejected or self._store.find(p)]:
            del peer.wanted[prefix]
        if not peer.wanted:
            peer.cursor = max(peer.cursor, peer.covered)

    async def converse(self, peer: Peer) -> None:
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
                self._shared.tell_problem(peer.node, str(error))
                await asyncio.sleep(RETRY_MAX_S)
            except (Unreachable, Refused, UnknownAuthor, StorageError, *UNREADABLE) as error:
                peer.stranger = isinstance(error, UnknownAuthor)
                await asyncio.sleep(delay_s)
                delay_s = min(RETRY_MAX_S, 2 * delay_s)

    async def _ask(self, peer: Peer, topic: str, request: bytes, answer_bytes: int) -> bytes:
        loop = asyncio.get_running_loop()
        asked_s = loop.time()
        self._traffic.add_exchange(peer.node, len(request))
        timeout_s = peer.speed.timeout_s(len(request) + answer_bytes)
        try:
            answer = await self._link.ask(peer.node, topic, request, timeout_s=timeout_s)
        except Unreachable:
            if loop.time() - asked_s >= timeout_s:
                peer.speed.add_timeout()
            raise
        peer.speed.add_sample(len(request) + len(answer), loop.time() - asked_s)
        return answer

    async def _compare(self, peer: Peer) -> None:
        since = Since(WIRE, peer.incarnation, peer.cursor, self._shared.digest_bytes(), peer.anew)
        changes = unpack_changes(await self._ask(peer, "c", pack(since), CHANGES_BYTES))
        self._presence.merge(unpack_heartbeats(changes.heartbeats, peer.node))
        if changes.incarnation != peer.incarnation:
            peer.new_life(changes.incarnation)
        for number, prefix in changes.entries:
            self._want(peer, number, prefix)
        peer.covered = max(peer.covered, changes.last)
        full = len(changes.entries) >= CHANGES_MAX
        peer.gap = peer.counted_up_to(changes.count) or full
        peer.anew = peer.anew and full
        self._settle(peer)
        if not peer.wanted:
            peer.save_cursor(self._store)

    async def _pull(self, peer: Peer, prefixes: list[bytes]) -> None:
        """Ask for records, in short form first; where an author was unknown, for all of them in full: his
        certificate is among them, and what cannot be expanded must not keep it waiting."""
        fully = prefixes if peer.stranger else [prefix for prefix in prefixes if prefix in peer.plainly]
        prefixes = fully or prefixes
        for prefix in prefixes:
            self._asked[prefix] = peer.node
        try:
            topic, about_bytes = "R" if fully else "r", len(prefixes) * RECORD_BYTES
            answer = unpack_list(await self._ask(peer, topic, pack(prefixes), about_bytes))
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
        for peer in self._shared.peers.values():
            if peer.wanted or peer.gap:
                peer.wake.set()
