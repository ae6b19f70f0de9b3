"""Each node knows the newest need and use of each node with each task."""

from __future__ import annotations

import asyncio
import random

from msgspec.structs import replace
from small_field import SmallField

from muster.network.trust.signing import seal
from muster.protocol.records import Need, Revocation, Use
from muster.simulation.identities import PretendIdentity
from muster.simulation.virtual.event_loop import run
from muster.storage.memory import MemoryStore

NEED = Need("linear", bytes(32), 0, 0, 1, bytes(8), 50, 20, 9)
USE = Use("linear", bytes(32), 0, 0, b"", b"", b"", "first", 0.0)


def test_what_a_node_says_is_known_everywhere_and_replaced_by_what_it_says_next() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        a, b = field.cores["a"], field.cores["b"]
        a.field.publish(NEED)
        a.field.publish(USE)
        b.field.publish(replace(NEED, wrong=3))
        await asyncio.sleep(5)
        for core in field.cores.values():
            needs = core.field.needs("linear")
            assert {n: r.wrong for n, r in needs.items()} == {a.node: 9, b.node: 3}
            assert set(core.field.uses("linear")) == {a.node}
            assert core.field.needs("another") == {}
        a.field.publish(NEED)  # nothing new
        a.field.publish(replace(NEED, over=True))
        await asyncio.sleep(5)
        for core in field.cores.values():
            found = core.field.need(a.node, "linear")
            assert found is not None
            assert (found.over, found.number) == (True, 2)
            assert len(core.store.select("need")) == 2
        await field.close()

    run(main(), until_s=1_000)


def test_it_is_loaded_at_a_start_and_goes_on_counting() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        field.cores["a"].field.publish(NEED)
        await field.cores["a"].close()
        core = field.cores["a"] = field.restart("a")
        await core.start()
        assert core.field.need(core.node, "linear") is not None
        core.field.publish(replace(NEED, labels=30))
        found = core.field.need(core.node, "linear")
        assert found is not None
        assert (found.number, found.labels) == (2, 30)
        await field.close()

    run(main(), until_s=1_000)


def test_what_a_node_said_before_it_lost_its_disk_replaces_nothing_new() -> None:
    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        a, b = field.cores["a"], field.cores["b"]
        for labels in (20, 21, 22):
            a.field.publish(replace(NEED, labels=labels))
        await asyncio.sleep(5)
        await a.close()
        field.network.cut(a.node, b.node)
        field.stores["a"] = MemoryStore(random.Random("another"))
        core = field.cores["a"] = field.restart("a")
        await core.start()
        core.field.publish(replace(NEED, labels=90))
        await asyncio.sleep(5)
        field.network.heal(a.node, b.node)
        await asyncio.sleep(60)
        for node in (core, b):
            found = node.field.need(a.node, "linear")
            assert found is not None
            assert (found.labels, found.number) == (90, 4)
        await field.close()

    run(main(), until_s=1_000)


def test_a_revoked_nodes_are_forgotten() -> None:
    async def main() -> None:
        field = SmallField("abc")
        await field.start()
        a, b = field.cores["a"], field.cores["b"]
        a.field.publish(NEED)
        await asyncio.sleep(5)
        assert a.node in b.field.needs("linear")
        b.ledger.receive(seal(PretendIdentity("authority"), Revocation(a.node, "lost"))[1], b"")
        await asyncio.sleep(5)
        assert b.field.needs("linear") == {}
        assert field.cores["c"].field.needs("linear") == {}
        await field.close()

    run(main(), until_s=1_000)
