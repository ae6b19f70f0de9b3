"""What a node counts as sent: by link and by job, and all of it, as those count who receive it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from bulk_world import data_of
from exchange_line import JOB, Node

from muster.job.figures import of_classes, sorted_figures
from muster.network.blobs.chunk_messages import HEAD_BYTES, TOPIC
from muster.network.blobs.transfers import Transfers
from muster.network.sync.messages import unpack_announce, unpack_changes, unpack_list
from muster.network.transport.link import Handler, Listener, Urgency
from muster.network.transport.traffic_counters import (
    BLOBS_MAX,
    JOBS_MAX,
    NEIGHBOURS_MAX,
    REMEMBERED_MAX,
    BytesSent,
    TrafficCounters,
)
from muster.network.trust.signing import seal
from muster.protocol.envelope import decode, unpack
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.parts import Payload
from muster.protocol.records import Commit, Measurement, Update
from muster.simulation.identities import PretendIdentity
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams
from muster.storage.memory import MemoryStore

A, B, C = (name * 32 for name in (b"a", b"b", b"c"))
BLOB = b"blob-one" + bytes(24)


def test_a_record_is_payload_and_what_is_beside_it() -> None:
    traffic = TrafficCounters()
    traffic.add_record(A, b"record-1", JOB, 230, 124)
    assert traffic.by_neighbour == {A: BytesSent(payload=124, records=106)}
    assert traffic.by_job == {JOB: BytesSent(payload=124, records=106)}
    assert traffic.total().total() == 230


def test_a_chunk_is_payload_of_the_job_whose_record_names_the_blob() -> None:
    traffic = TrafficCounters()
    traffic.add_chunk(A, BLOB[:8], 0, 4096)
    assert traffic.by_neighbour == {A: BytesSent(payload=4096)}
    assert traffic.by_job == {}
    traffic.assign_blob(BLOB, JOB)
    traffic.add_chunk(A, BLOB[:8], 4096, 100)
    assert traffic.by_neighbour == {A: BytesSent(payload=4196)}
    assert traffic.by_job == {JOB: BytesSent(payload=100)}


def test_again_is_what_the_same_neighbour_had_before() -> None:
    traffic = TrafficCounters()
    traffic.assign_blob(BLOB, JOB)
    for node in (A, B):
        traffic.add_record(node, b"record-1", JOB, 230, 124)
        traffic.add_chunk(node, BLOB[:8], 0, 4096)
        traffic.add_chunk(node, BLOB[:8], 4096, 4096)
    assert traffic.total().again == traffic.for_job(JOB).again == 0
    traffic.add_record(A, b"record-1", JOB, 250, 124)  # in full this time
    traffic.add_chunk(A, BLOB[:8], 4096, 100)
    assert traffic.by_neighbour[A] == BytesSent(payload=124 * 2 + 8292, records=106 + 126, again=350)
    assert traffic.by_neighbour[B].again == 0
    assert traffic.for_job(JOB).again == traffic.total().again == 350
    assert traffic.total().total() == 230 * 2 + 250 + 8192 * 2 + 100  # again is a part of it


def test_what_is_told_is_of_no_job() -> None:
    traffic = TrafficCounters()
    traffic.add_exchange(A, 40, 10)
    traffic.add_exchange(B, 3)
    assert traffic.by_neighbour == {A: BytesSent(exchange=40, presence=10), B: BytesSent(exchange=3)}
    assert traffic.by_job == {}
    assert traffic.total() == BytesSent(exchange=43, presence=10)


def test_every_table_has_its_limit() -> None:
    traffic = TrafficCounters()
    for number in range(max(NEIGHBOURS_MAX, JOBS_MAX) + 1):
        traffic.add_record(number.to_bytes(32, "big"), b"record-1", number.to_bytes(32, "big"), 10, 0)
    assert len(traffic.by_neighbour) == NEIGHBOURS_MAX
    assert len(traffic.by_job) == JOBS_MAX
    traffic.add_record(bytes(32), b"record-1", JOB, 10, 0)  # it was forgotten with all that it had been sent
    assert traffic.by_neighbour[bytes(32)] == BytesSent(records=10)
    for number in range(REMEMBERED_MAX + 1):
        traffic.add_chunk(A, BLOB[:8], number, 1)
    traffic.add_chunk(A, BLOB[:8], 1, 1)
    assert traffic.by_neighbour[A].again == 1
    traffic.add_chunk(A, BLOB[:8], 0, 1)
    assert traffic.by_neighbour[A].again == 1
    traffic.assign_blob(BLOB, JOB)
    for number in range(BLOBS_MAX):
        traffic.assign_blob(number.to_bytes(32, "little"), JOB)
    traffic.add_chunk(B, BLOB[:8], 0, 1)
    assert traffic.for_job(JOB).payload == 0


class Metered:
    """A node's link that keeps count of all that arrives, by what it is."""

    def __init__(self, link: SimLink) -> None:
        self._link = link
        self.node = link.node
        self.start, self.close, self.neighbours = link.start, link.close, link.neighbours
        self.forbid, self.watch, self.nudge = link.forbid, link.watch, link.nudge
        self.bytes = self.heartbeats = self.chunks = 0  # bytes is all
        self.shorts: list[bytes] = []  # records, as they came
        self.incarnations: dict[NodeId, int] = {}  # of the neighbours' stores

    async def ask(
        self,
        node: NodeId,
        topic: str,
        payload: bytes,
        *,
        timeout_s: float,
        urgency: Urgency = Urgency.CONTROL,
    ) -> bytes:
        answer = await self._link.ask(node, topic, payload, timeout_s=timeout_s, urgency=urgency)
        self.bytes += len(answer)
        if topic == TOPIC:
            self.chunks += len(answer) - HEAD_BYTES
        elif topic == "c":
            self.heartbeats += len(unpack_changes(answer).heartbeats)
        else:
            self.shorts += unpack_list(answer)
        return answer

    def serve(self, topic: str, handler: Handler) -> None:
        async def metered(node: NodeId, payload: bytes) -> bytes:
            self.bytes += len(payload)
            return await handler(node, payload)

        self._link.serve(topic, metered)

    def listen(self, topic: str, listener: Listener) -> None:
        def metered(node: NodeId, payload: bytes) -> None:
            self.bytes += len(payload)
            if topic != TOPIC:
                announcement = unpack_announce(payload, self.incarnations[node])
                assert announcement is not None
                self.shorts += announcement.inline
                self.heartbeats += len(announcement.heartbeats)
            listener(node, payload)

        self._link.listen(topic, metered)


class End(Node):
    """A node that exchanges records and fetches blobs."""

    def __init__(self, network: SimNetwork, name: str, store: MemoryStore | None = None) -> None:
        identity = PretendIdentity(name)
        self.metered = Metered(network.link(identity.node, name))
        super().__init__(network, name, store, self.metered)
        self.member = seal(identity, identity.member())[0]
        self.traffic = self.exchange.traffic
        self.transfers = Transfers(self.link, self.store, hints=lambda blob: [], traffic=self.traffic)

    async def start(self) -> None:
        self.transfers.start()
        await super().start()

    async def close(self) -> None:
        await self.transfers.close()
        await super().close()

    def received(self) -> tuple[BytesSent, Counter[RecordId]]:
        """What came, as its sender should have counted it, but for `again`; and the bytes of each record."""
        metered, tensors, records = self.metered, 0, Counter[RecordId]()
        for short in metered.shorts:
            signed = unpack(self.exchange.shared.compressor.decompress(short))
            record = decode(signed.body)
            payload = record.payload if isinstance(record, Update) else None
            payload = record.delta if isinstance(record, Commit) else payload
            tensors += len(payload.inline or b"") if payload else 0
            records[signed.id] += len(short)
        rest = metered.bytes - metered.chunks - metered.heartbeats - records.total()
        return BytesSent(
            metered.chunks + tensors, records.total() - tensors, rest, metered.heartbeats
        ), records


def introduce(*ends: End) -> None:
    for end in ends:
        end.metered.incarnations |= {other.identity.node: other.store.incarnation for other in ends}


def with_line(
    scene: Callable[[SimNetwork, list[End]], Awaitable[None]], params: PathParams, names: str = "ab"
) -> None:
    async def main() -> None:
        network = SimNetwork(random.Random(1))
        ends = [End(network, name) for name in names]
        introduce(*ends)
        for left, right in pairwise(ends):
            network.connect(left.identity.node, right.identity.node, params)
        for end in ends:
            await end.start()
        await asyncio.sleep(5)
        await scene(network, ends)
        for end in ends:
            await end.close()

    run(main(), until_s=10_000)


def counted_by(sender: End, receiver: End) -> BytesSent:
    return sender.traffic.by_neighbour[receiver.identity.node]


async def a_round(a: End, b: End) -> tuple[int, int]:
    """Updates and commits, small ones in their records, large ones pulled; payload bytes (from a, from b)."""
    start = a.ledger.publish(Commit(JOB, (), 0, (), (a.identity.node,), (), 0.0, bytes(32), 24_000))
    await asyncio.sleep(5)
    small, large = random.Random(3).randbytes(124), data_of(110_000)
    delta, model = random.Random(4).randbytes(150), data_of(24_000, seed=8)
    update = Update(JOB, start, 0, 1, 1, 20, 640, 0.5, Payload("stc:0.01", len(small), inline=small))
    b.ledger.publish(update)
    blob = b.store.put_blob(large[1])
    b.ledger.publish(Update(JOB, start, 0, 1, 2, 20, 640, 0.5, Payload("quant8", len(large[1]), blob=blob)))
    await asyncio.sleep(5)
    await a.transfers.fetch(blob, len(large[1]))
    params = a.store.put_blob(model[1])
    inline = Payload("stc:0.01", len(delta), inline=delta)
    head = a.ledger.publish(Commit(JOB, (start,), 1, (), (), (), 1.0, params, 24_000, inline))
    a.ledger.publish(Measurement(JOB, head, 2000, sorted_figures(of_classes(2000, 1700, 90.0)), True))
    await asyncio.sleep(5)
    await b.transfers.fetch(params, 24_000)
    return len(delta) + 24_000, len(small) + 110_000


@pytest.mark.parametrize("params", [PathParams(), PathParams(delay_s=0.3)], ids=["near", "far"])
def test_what_one_end_counts_as_sent_the_other_receives(params: PathParams) -> None:
    async def scene(network: SimNetwork, ends: list[End]) -> None:
        a, b = ends
        from_a, from_b = await a_round(a, b)
        await asyncio.sleep(120)
        for sender, receiver, payload in ((a, b, from_a), (b, a, from_b)):
            sent = counted_by(sender, receiver)
            received, records = receiver.received()
            assert sent == received  # so nothing went again
            assert sent.payload == payload
            assert sent.total() == sender.traffic.total().total() == receiver.metered.bytes
            job = sender.traffic.by_job[JOB]
            member = records[sender.member]  # of no job
            assert job == BytesSent(payload, sent.records - member)
            assert sent.exchange > 0 < sent.presence

    with_line(scene, params)


def test_a_neighbour_that_lost_its_disk_gets_it_all_again() -> None:
    async def scene(network: SimNetwork, ends: list[End]) -> None:
        a, b = ends
        payload, _ = await a_round(a, b)
        first, (_, before) = counted_by(a, b).total(), b.received()
        await b.close()
        returned = ends[1] = End(network, "b", MemoryStore(random.Random("new")))
        introduce(a, returned)
        await returned.start()
        await asyncio.sleep(30)
        params = next(e.record.params for e in returned.ledger.load("commit") if e.record.delta is not None)
        await returned.transfers.fetch(params, 24_000)
        await asyncio.sleep(30)
        sent, (received, records) = counted_by(a, returned), returned.received()
        twice = sum(size for name, size in records.items() if name in before)
        assert len(records.keys() & before.keys()) == 4  # member, two commits, figures
        assert sent.again == twice + 24_000 > 24_150
        assert sent.payload == payload + received.payload
        assert sent.total() == first + received.total() == first + returned.metered.bytes

    with_line(scene, PathParams())


def test_what_is_got_for_another_is_counted_on_both_links() -> None:
    """b asks c for what a wants, has nothing for a as long as c has nothing, and then says so."""
    blob, data = data_of(30_000)

    async def scene(network: SimNetwork, ends: list[End]) -> None:
        a, b, c = ends
        fetching = asyncio.get_running_loop().create_task(a.transfers.fetch(blob, len(data)))
        await asyncio.sleep(60)
        assert a.metered.chunks == 0
        c.store.put_blob(data)
        await fetching
        await asyncio.sleep(30)
        for receiver in (a, c):
            assert counted_by(b, receiver) == receiver.received()[0]
        assert counted_by(a, b).total() + counted_by(c, b).total() == b.metered.bytes
        assert counted_by(b, a).payload == counted_by(c, b).payload == len(data)

    with_line(scene, PathParams(), "abc")
