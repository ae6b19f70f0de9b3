"""Whatever bytes a neighbour sends, only the documented errors come of them, in bounded memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from exchange_line import Node
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster.network.sync.heartbeat import unpack_heartbeats
from muster.network.sync.messages import (
    WIRE,
    Announce,
    Changes,
    Since,
    WrongWire,
    pack_announce,
    unpack_announce,
    unpack_changes,
    unpack_list,
    unpack_prefixes,
    unpack_since,
)
from muster.network.sync.record_compression.compressor import CannotDecompress, RecordCompressor
from muster.network.transport.link import Refused
from muster.network.transport.offences import CUT_FROM, CUT_S
from muster.network.trust.signing import seal
from muster.protocol.envelope import UNREADABLE, RecordError, decode, unpack
from muster.protocol.ids import NodeId
from muster.protocol.records import Refusal, Stop
from muster.simulation.identities import PretendIdentity
from muster.simulation.virtual.event_loop import VirtualLoop
from muster.simulation.virtual.network import SimNetwork
from muster.storage.memory import MemoryStore

DEEP = b"\x91" * 60_000 + b"\xc0"
numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.integers(-3, 40), st.sampled_from([2**53, 2**62]))
names = st.one_of(st.binary(min_size=8, max_size=8), st.binary(max_size=12))
entries = st.lists(st.tuples(numbers, names), max_size=6)
anything = st.recursive(
    st.one_of(numbers, st.binary(max_size=20), st.text(max_size=8), st.floats(), st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=20,
)
announcements = st.builds(Announce, numbers, numbers, entries, st.lists(st.binary(max_size=60)), st.binary())
sinces = st.builds(
    Since, st.sampled_from([WIRE, 1, 3]), numbers, numbers, st.binary(max_size=16), st.booleans()
)
answers = st.builds(
    Changes, st.sampled_from([WIRE, 1]), numbers, numbers, numbers, entries, st.binary(max_size=60)
)
encoded = st.one_of(
    st.binary(max_size=200),
    st.just(DEEP),
    st.builds(msgspec.msgpack.encode, st.one_of(anything, announcements, sinces, answers)),
)


@given(encoded, numbers)
def test_messages_are_read_or_refused(data: bytes, incarnation: int) -> None:
    for read, refusal in (
        (unpack_since, WrongWire),
        (unpack_changes, WrongWire),
        (unpack_prefixes, WrongWire),
        (unpack_list, UNREADABLE),
        (unpack, RecordError),
        (decode, RecordError),
    ):
        with contextlib.suppress(refusal):  # type: ignore[arg-type]
            read(data)
    body = zlib.crc32(data, incarnation & 0xFFFFFFFF).to_bytes(4, "big") + data
    unpack_announce(body, incarnation)
    unpack_heartbeats(data, b"s" * 8)


class Pair:
    """A node in virtual time with a neighbour that sends what it likes."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.problems: list[str] = []
        self.loop.run_until_complete(self._open())

    async def _open(self) -> None:
        network = SimNetwork(random.Random(1))
        self.node, self.other = Node(network, "a"), Node(network, "b")
        network.connect(self.node.identity.node, self.other.identity.node)
        self.node.exchange.shared.offences._on_problem = self.problems.append
        for one in (self.node, self.other):
            await one.start()
        await asyncio.sleep(5.0)
        for number in range(3):
            self.node.publish(f"{number}")
        await asyncio.sleep(5.0)
        assert self.other.identity.node in self.node.exchange.shared.peers

    def close(self) -> None:
        async def end() -> None:
            for one in (self.node, self.other):
                await one.close()

        self.loop.run_until_complete(end())
        faults = self.loop.faults
        asyncio.set_event_loop(None)
        self.loop.close()
        assert not faults

    @property
    def b(self) -> NodeId:
        return self.other.identity.node

    def forgive(self) -> None:
        shared = self.node.exchange.shared
        for known in (shared.offences, shared.authors):
            known._known.clear()

    def publish(self, text: str) -> None:
        """The neighbour makes a record."""

        async def publish() -> None:
            self.other.publish(text)

        self.loop.run_until_complete(publish())

    def ask(self, topic: str, payload: bytes) -> bytes:
        """What the node answers. Raises Refused."""
        responder = self.node.exchange._responder
        handlers = {"c": responder.changes, "r": responder.records, "R": responder.records_in_full}
        return self.loop.run_until_complete(handlers[topic](self.b, payload))

    def announce(self, payload: bytes) -> None:
        async def nudge() -> None:
            self.node.exchange._record_sync.on_announce(self.b, payload)
            await asyncio.sleep(0.0)

        self.loop.run_until_complete(nudge())

    def answer(self, payload: bytes, seconds: float = 3.0) -> None:
        """Let the node ask, and be answered so, whatever it asks."""
        link: Any = self.other.link
        kept = dict(link._handlers)

        async def say(node: NodeId, question: bytes) -> bytes:
            return payload

        async def scene() -> None:
            link._handlers.update(dict.fromkeys("crR", say))
            inbound = self.node.exchange.shared.peers[self.b].inbound
            inbound.gap = True
            self.node.exchange.shared.peers[self.b].wake.set()
            await asyncio.sleep(seconds)
            link._handlers.update(kept)

        self.loop.run_until_complete(scene())


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    found = Pair()
    yield found
    found.close()


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.sampled_from("crR"), encoded)
def test_questions_are_answered_or_refused(pair: Pair, topic: str, payload: bytes) -> None:
    pair.forgive()
    with contextlib.suppress(Refused):
        assert len(pair.ask(topic, payload)) <= 64 * 1024


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(st.one_of(encoded, announcements))
def test_announcements_do_no_harm(pair: Pair, message: Any) -> None:
    pair.forgive()
    if isinstance(message, Announce):
        message = pack_announce(message, pair.other.store.incarnation)
    pair.announce(message)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(encoded)
def test_answers_do_no_harm(pair: Pair, payload: bytes) -> None:
    pair.forgive()
    pair.answer(payload)
    peer = pair.node.exchange.shared.peers[pair.b]
    assert peer.loop is not None
    assert peer.loop.task is not None
    assert not peer.loop.task.done()
    assert not peer.loop.faults


def test_after_all_that_records_still_come(pair: Pair) -> None:
    pair.forgive()
    pair.publish("after all")

    async def wait() -> None:
        await asyncio.sleep(120.0)

    pair.loop.run_until_complete(wait())
    assert "after all" in pair.node.heard()


@settings(max_examples=300)
@given(st.data())
def test_compressed_records_are_read_or_refused(data: st.DataObject) -> None:
    compressor = RecordCompressor(MemoryStore(random.Random(1)))
    _, wire = seal(PretendIdentity("a"), Stop(b"j" * 32, "enough " * 20))
    good = compressor.compress(b"i" * 32, wire)
    at = data.draw(st.integers(0, len(good) - 1))
    damaged = good[:at] + data.draw(st.binary(max_size=6)) + good[at + data.draw(st.integers(0, 6)) :]
    for one in (damaged, data.draw(encoded), bytes((0x10 | data.draw(st.integers(0, 15)),)) + DEEP):
        with contextlib.suppress(CannotDecompress, RecordError):
            unpack(compressor.decompress(one))


def test_a_bomb_takes_no_memory() -> None:
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = bytes((0x18,)) + coder.compress(bytes(200_000_000)) + coder.flush()
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    nested = bytes((0x18,)) + coder.compress(bytes(1) + DEEP) + coder.flush() + b"a payload"
    compressor = RecordCompressor(MemoryStore(random.Random(1)))
    tracemalloc.start()
    for one in (bomb, nested):
        with pytest.raises((CannotDecompress, RecordError)):
            compressor.decompress(one)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


def test_a_neighbour_that_goes_on_is_cut_and_comes_back(pair: Pair) -> None:
    pair.forgive()
    for _ in range(CUT_FROM):
        with pytest.raises(Refused):
            pair.ask("r", DEEP)
    assert sum("is not heard for" in problem for problem in pair.problems) >= 1
    said = len(pair.problems)
    pair.publish("while it is cut")
    with pytest.raises(Refused, match="nobody can use"):
        pair.ask("c", msgspec.msgpack.encode(Since(WIRE, 0, 0, bytes(16), True)))

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)

    pair.loop.run_until_complete(wait(CUT_S / 2))
    assert "while it is cut" not in pair.node.heard()
    pair.loop.run_until_complete(wait(CUT_S))
    assert "while it is cut" in pair.node.heard()
    assert len(pair.problems) == said


def test_a_flood_of_refused_records_is_named_once_and_then_not_heard(pair: Pair) -> None:
    pair.forgive()
    pair.problems.clear()
    ledger = pair.node.ledger
    ledger._on_problem = pair.problems.append
    signer = pair.other.identity
    before = ledger.refusals.invalid
    for number in range(1000):
        _, wire = seal(signer, Refusal(b"j" * 32, -1 - number, 1, "no"))
        message = Announce(1, 1, [], [wire], b"")
        pair.announce(pack_announce(message, pair.other.store.incarnation))
    assert ledger.refusals.invalid - before <= CUT_FROM
    assert len([p for p in pair.problems if "is refused" in p]) == 1
    assert len([p for p in pair.problems if "is not heard for" in p]) == 1
    pair.forgive()
