"""Of a node's needs and uses the newest with each task is kept on every node, and nothing else."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest
from exchange_line import Node, with_line
from msgspec.structs import replace

from muster.network.sync.newest import TASKS_MAX, NewestRecords
from muster.network.trust.signing import seal
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Need, Record, Revocation, Use
from muster.simulation.identities import PretendIdentity
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams
from muster.storage.store import StorageError

A = b"a" * 32
NEED = Need("digits", bytes(32), 1, 1, 1, bytes(8), 50, 20, 9)
USE = Use("digits", bytes(32), 1, 1, b"", b"", b"", "first", 0.0)


@dataclass
class Kept:
    """What a store holds when records come one after another."""

    newest: NewestRecords = field(default_factory=NewestRecords)
    ids: set[RecordId] = field(default_factory=set)

    def take(self, record_id: RecordId, author: NodeId, record: Record) -> None:
        gone = self.newest.replaces(record_id, author, record)
        if gone is not None:
            self.newest.keep(record_id, author, record)
            self.ids = self.ids - set(gone) | {record_id}


def test_whatever_the_order_the_same_records_stay() -> None:
    rng = random.Random(4)
    tasks = [f"task{i}" for i in range(TASKS_MAX + 9)]
    found = []
    for number in range(400):
        record = replace(NEED, task=rng.choice(tasks), number=rng.randrange(300), incarnation=number % 2)
        found.append((rng.randbytes(32), rng.choice((A, b"b" * 32)), record))
    orders = [rng.sample(found, len(found)) for _ in range(5)]
    stay = []
    for order in orders:
        kept = Kept()
        for one in order:
            kept.take(*one)
        stay.append(kept.ids)
    assert all(ids == stay[0] for ids in stay)
    assert len(stay[0]) == 2 * TASKS_MAX
    for author in {author for _, author, _ in found}:
        theirs = {r.task: r for i, a, r in found if i in stay[0] and a == author}
        assert len(theirs) == TASKS_MAX, "one of each task"


def test_a_revoked_nodes_vanish() -> None:
    kept = Kept()
    kept.take(b"1" * 32, A, NEED)
    kept.take(b"2" * 32, A, USE)
    kept.take(b"3" * 32, b"b" * 32, NEED)
    kept.take(b"4" * 32, b"authority", Revocation(A, "lost"))
    assert kept.ids == {b"3" * 32, b"4" * 32}
    assert kept.newest.outdated(b"1" * 8)


def kept_at(node: Node) -> list[tuple[str, int]]:
    records = [e.record for kind in ("need", "use") for e in node.ledger.load(kind)]
    return sorted((r.KIND, r.number) for r in records if isinstance(r, Need | Use))


@pytest.mark.parametrize("params", [PathParams(), PathParams(nudge_loss=0.5, ask_loss=0.2)])
def test_the_older_ones_are_deleted_everywhere(params: PathParams) -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b, _ = (n.identity.node for n in nodes)
        nodes[0].ledger.publish(NEED)
        await asyncio.sleep(60)
        network.cut(a, b)
        for number in (2, 3, 4):
            nodes[0].ledger.publish(replace(NEED, number=number))
            nodes[0].ledger.publish(replace(USE, number=number))
        await asyncio.sleep(60)
        assert kept_at(nodes[2]) == [("need", 1)]
        network.heal(a, b)
        await asyncio.sleep(300)
        for node in nodes:
            assert kept_at(node) == [("need", 4), ("use", 4)]
            assert len(node.store.since(0, 999)) == 5, "three members and these two"
        digests = {node.exchange.shared.digest_bytes() for node in nodes}
        assert len(digests) == 1, "or neighbours compare for ever"
        assert all(not p.inbound.wanted for n in nodes for p in n.exchange.shared.peers.values())

    with_line(scene, params)


def test_what_comes_late_is_not_asked_for_again() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        _, old = seal(nodes[0].identity, NEED)
        nodes[0].ledger.publish(replace(NEED, number=2))
        await asyncio.sleep(30)
        assert nodes[1].ledger.receive(old, b"") is not None, "done with, and no offence"
        assert kept_at(nodes[1]) == [("need", 2)]
        assert nodes[1].ledger.outdated(seal(nodes[0].identity, NEED)[0][:8])
        assert nodes[1].ledger.refusals.invalid == 0

    with_line(scene, PathParams())


def test_a_revocation_takes_them_out_everywhere() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        nodes[0].ledger.publish(NEED)
        nodes[1].ledger.publish(replace(NEED, number=7))
        await asyncio.sleep(30)
        assert len(kept_at(nodes[2])) == 2
        authority = PretendIdentity("authority")
        nodes[2].ledger.receive(seal(authority, Revocation(nodes[0].identity.node, "lost"))[1], b"")
        await asyncio.sleep(30)
        assert [kept_at(node) for node in nodes[1:]] == [[("need", 7)]] * 2

    with_line(scene, PathParams())


def test_a_batch_that_fails_takes_nothing_away() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        ledger = nodes[0].ledger
        ledger.publish(NEED)
        _, newer = seal(nodes[0].identity, replace(NEED, number=2))

        def fails() -> None:
            with ledger.batch():
                ledger.receive(newer, b"")
                raise StorageError("full")

        with pytest.raises(StorageError):
            fails()
        assert kept_at(nodes[0]) == [("need", 1)]
        ledger.receive(newer, b"")
        assert kept_at(nodes[0]) == [("need", 2)]

    with_line(scene, PathParams())


def test_a_process_that_died_after_a_removal_counts_its_records_anew() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a = nodes[0]
        a.ledger.publish(NEED)
        a.exchange.shared.note_digest()
        a.ledger.publish(replace(NEED, number=2))
        digest = a.exchange.shared.digest_bytes()
        again = Node(SimNetwork(random.Random(2)), "a", a.store)
        await again.start()
        assert again.exchange.shared.digest_bytes() == digest
        await again.close()

    with_line(scene, PathParams())
