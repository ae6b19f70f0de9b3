"""Records and heartbeats reach everybody, whatever the links lose."""

from __future__ import annotations

import asyncio
import random

import msgspec
import pytest
from exchange_line import Node, with_line

from muster.network.change_signal import ChangeSignal
from muster.network.sync.heartbeat import Heartbeat
from muster.network.sync.inbound import Inbound
from muster.network.sync.messages import WIRE, Announce, Changes
from muster.network.sync.presence import Presence
from muster.protocol.ids import NodeId
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams
from muster.storage.memory import MemoryStore


@pytest.mark.parametrize(
    "params",
    [
        PathParams(),
        PathParams(nudge_loss=0.7),
        PathParams(nudge_loss=0.2, ask_loss=0.2),
        PathParams(nudge_duplicate=0.5, nudge_reorder=0.5),
        PathParams(nudge_corrupt=0.5),
    ],
    ids=["clean", "nudges lost", "questions lost", "mixed up", "corrupted"],
)
def test_everybody_gets_everything(params: PathParams) -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        for number in range(30):
            nodes[number % 3].publish(f"record {number}")
            await asyncio.sleep(0.5)
        await asyncio.sleep(300)
        for node in nodes:
            assert len(node.heard()) == 30
            assert len(node.presence.table) == 2

    with_line(scene, params)


def test_what_was_not_understood_is_not_covered_by_an_older_comparison() -> None:
    """The answer to a question from before the announcement took the gap away, and a record was missed for
    ever (seed 1164)."""
    inbound, kept = Inbound(), set[bytes]()
    first, second = (Announce(count, 9, [], [b"compressed"], b"") for count in (4, 5))
    inbound.on_announce(first, kept.__contains__, understood=True)
    inbound.on_announce(second, kept.__contains__, understood=False)
    inbound.on_changes(Changes(WIRE, 0, 9, 4, [], b""), kept.__contains__)
    heartbeats_only = Announce(5, 9, [], [], b"")
    inbound.on_announce(heartbeats_only, kept.__contains__, understood=True)
    assert inbound.gap


def test_what_comes_from_afar_is_passed_on_whole() -> None:
    """The near ones can hardly have it: they would ask for it, which is a round trip more."""

    async def main() -> None:
        network = SimNetwork(random.Random(1))
        nodes = [Node(network, name) for name in "abc"]
        a, b, c = (node.identity.node for node in nodes)
        network.connect(a, b, PathParams(delay_s=0.3))
        network.connect(b, c, PathParams(delay_s=0.08))
        for node in nodes:
            await node.start()
        await asyncio.sleep(30)
        nodes[0].publish("from afar")
        nodes[2].publish("from here")
        await asyncio.sleep(0.3 + 0.08 + 0.1)  # an eighth of a second less than with a question
        assert nodes[2].heard() == {"from afar", "from here"}
        assert nodes[0].heard() == {"from afar", "from here"}
        for node in nodes:
            await node.close()

    run(main(), until_s=1_000)


def test_what_was_said_behind_a_cut_comes_with_the_heal() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b, _ = (n.identity.node for n in nodes)
        network.cut(a, b)
        nodes[0].publish("from here")
        nodes[2].publish("from there")
        await asyncio.sleep(100)
        assert nodes[0].heard() == {"from here"}
        network.heal(a, b)
        await asyncio.sleep(10)
        assert all(n.heard() == {"from here", "from there"} for n in nodes)

    with_line(scene, PathParams())


def test_a_carrier_brings_what_it_heard_to_those_it_meets_later() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b, c = (n.identity.node for n in nodes)
        network.cut(b, c)
        nodes[0].publish("hello")
        await asyncio.sleep(30)
        network.cut(a, b)
        network.heal(b, c)
        await asyncio.sleep(30)
        assert nodes[2].heard() == {"hello"}

    with_line(scene, PathParams())


def test_a_lost_disk_gets_back_even_what_it_had_said_itself() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        nodes[0].publish("before")
        await asyncio.sleep(20)
        await nodes[0].close()
        nodes[0] = Node(network, "a", MemoryStore(random.Random("new")))
        await nodes[0].start()
        await asyncio.sleep(20)
        assert nodes[0].heard() == {"before"}
        nodes[0].publish("after")
        await asyncio.sleep(20)
        assert nodes[2].heard() == {"before", "after"}

    with_line(scene, PathParams())


def test_a_full_disk_takes_what_it_missed_when_there_is_room() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        await asyncio.sleep(10)
        nodes[1].store.fill()
        nodes[0].publish("hello")
        await asyncio.sleep(60)
        assert nodes[1].heard() == set()
        nodes[1].store.free()
        await asyncio.sleep(60)
        assert nodes[1].heard() == nodes[2].heard() == {"hello"}

    with_line(scene, PathParams())


def test_the_heartbeats_of_a_node_that_lost_its_disk_are_heard_again() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        nodes[0].presence.incarnation.start = 7
        nodes[0].presence.set_status("idle", 0.0, None, b"", 0)
        await asyncio.sleep(30)
        await nodes[0].close()
        await asyncio.sleep(30)
        nodes[0] = Node(network, "a", MemoryStore(random.Random("new")))  # starts from 1 again
        await nodes[0].start()
        await asyncio.sleep(30)
        age_s = nodes[2].presence.age_s(nodes[0].identity.node)
        assert age_s is not None
        assert age_s < 15

    with_line(scene, PathParams())


def test_who_learns_of_a_former_life_after_the_node_is_back_tells_it() -> None:
    """Seed 812: the neighbour had been restarted, too, and heard of the old heartbeats only later."""

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        nodes[0].presence.incarnation.start = 7
        nodes[0].presence.set_status("idle", 0.0, None, b"", 0)
        await asyncio.sleep(30)
        network.cut(nodes[1].identity.node, nodes[2].identity.node)
        for index, name in enumerate("ab"):
            await nodes[index].close()
            nodes[index] = Node(network, name, MemoryStore(random.Random(name + "new")))
            await nodes[index].start()
        await asyncio.sleep(30)
        network.heal(nodes[1].identity.node, nodes[2].identity.node)
        await asyncio.sleep(90)  # FORMER_S: a process that lives would be heard again by then
        for node in nodes[1:]:
            age_s = node.presence.age_s(nodes[0].identity.node)
            assert age_s is not None
            assert age_s < 15

    with_line(scene, PathParams())


def test_a_heartbeat_replaces_an_older_one_only() -> None:
    presence = Presence(b"m" * 32, 1, lambda: 0.0)
    newer, older = Heartbeat(b"n" * 8, 2, 1, 0, 0, 255, b"", 0), Heartbeat(b"n" * 8, 1, 9, 0, 0, 255, b"", 0)
    assert presence.merge([newer, older]) == [newer]
    assert presence.merge([newer]) == []


def test_a_wait_that_is_cancelled_while_it_is_woken_ends() -> None:
    """`asyncio.wait_for` of Python 3.11 goes on in this case."""

    async def main() -> None:
        changes = ChangeSignal()
        turns = 0

        async def loop() -> None:
            nonlocal turns
            while True:
                await changes.wait(10.0)
                turns += 1

        task = asyncio.create_task(loop())
        await asyncio.sleep(1)
        changes.notify()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert turns == 0

    run(main(), until_s=100)


def test_news_by_somebody_unknown_does_not_hide_who_that_is() -> None:
    """The first comparison is lost; then comes news whose author's certificate lies before it."""

    async def main() -> None:
        network = SimNetwork(random.Random(1))
        a, b, c = (Node(network, name) for name in "abc")
        network.connect(b.identity.node, c.identity.node)
        await b.start()
        await c.start()
        await asyncio.sleep(10)
        network.connect(a.identity.node, b.identity.node, PathParams(ask_loss=1.0))
        await a.start()
        await asyncio.sleep(5)
        c.publish("news")
        await asyncio.sleep(20)
        network.set(a.identity.node, b.identity.node, PathParams())
        await asyncio.sleep(120)
        assert a.heard() == {"news"}
        for node in (a, b, c):
            await node.close()

    run(main(), until_s=10_000)


def test_a_neighbour_of_an_older_format_is_named() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        problems: list[str] = []
        nodes[0].exchange.shared.on_problem = problems.append

        async def old(node: NodeId, payload: bytes) -> bytes:
            return msgspec.msgpack.encode([1234567, 0, [], []])  # its answer began with the incarnation

        nodes[1].link.serve("c", old)
        nodes[1].publish("hello")
        await asyncio.sleep(120)
        assert len(problems) == 1
        assert "in format 1, this node in format 2: update muster" in problems[0]

    with_line(scene, PathParams(), names="ab")
