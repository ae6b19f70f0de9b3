"""What is deferred for narrow links, and when they hear of it after all."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from exchange_line import JOB, Node, with_line

from muster.network.sync.deferred import Deferral
from muster.protocol.ids import NodeId
from muster.protocol.parts import Payload
from muster.protocol.records import Record, Refusal, Update
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams


@dataclass
class OnlyTowards:
    """Refusals that begin with "held" go to one neighbour, the others hear of them after 60 s."""

    towards: NodeId
    node: Node
    done: set[str] = field(default_factory=set)
    had_deferred: list[bool] = field(default_factory=list)  # as asked at each new session

    def defer(self, author: NodeId, record: Record) -> Deferral | None:
        held = isinstance(record, Refusal) and record.reason.startswith("held")
        return Deferral(self.towards, 60.0) if held else None

    def obsolete(self, author: NodeId, record: Record) -> bool:
        return isinstance(record, Refusal) and record.reason in self.done

    def unacknowledged(self, *, had_deferred: bool) -> list[bytes]:
        self.had_deferred.append(had_deferred)
        entries = self.node.ledger.load("refusal")
        return [e.id for e in entries if not self.obsolete(e.author, e.record)]


def narrow_star(nodes: list[Node]) -> OnlyTowards:
    """b, in the middle, knows that what is held is for a."""
    for node in nodes:
        node.exchange.shared.known_narrow = lambda _: True
    nodes[1].forwarding.by = forwarding = OnlyTowards(nodes[0].identity.node, nodes[1])
    return forwarding


@pytest.mark.parametrize("params", [PathParams(), PathParams(nudge_loss=0.5)], ids=["clean", "nudges lost"])
def test_a_narrow_link_hears_later_of_what_is_for_others(params: PathParams) -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        narrow_star(nodes)
        await asyncio.sleep(10)
        nodes[1].publish("held: for a")
        nodes[1].publish("for all")
        await asyncio.sleep(30)
        assert nodes[0].heard() == {"held: for a", "for all"}
        assert nodes[2].heard() == {"for all"}
        await asyncio.sleep(90)
        assert nodes[2].heard() == {"held: for a", "for all"}

    with_line(scene, params)


def test_what_is_obsolete_is_not_announced_any_more() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        forwarding = narrow_star(nodes)
        await asyncio.sleep(10)
        nodes[1].publish("held: for a")
        await asyncio.sleep(30)
        forwarding.done.add("held: for a")
        await asyncio.sleep(120)
        assert nodes[0].heard() == {"held: for a"}
        assert nodes[2].heard() == set()

    with_line(scene, PathParams())


def test_a_new_session_does_not_forget_what_was_deferred() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        narrow_star(nodes)
        await asyncio.sleep(10)
        nodes[1].publish("held: for a")
        nodes[1].publish("for all")  # the cursor of c moves beyond both
        await asyncio.sleep(10)
        b, c = nodes[1].identity.node, nodes[2].identity.node
        network.cut(b, c)
        await asyncio.sleep(30)
        network.heal(b, c)
        await asyncio.sleep(100)
        assert nodes[2].heard() == {"held: for a", "for all"}

    with_line(scene, PathParams())


def test_it_is_known_in_the_next_session_for_whom_something_was_deferred() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        forwarding = narrow_star(nodes)
        await asyncio.sleep(10)
        nodes[1].publish("held: for a")
        await asyncio.sleep(10)
        b = nodes[1].identity.node
        for other in (nodes[0], nodes[2]):
            network.cut(b, other.identity.node)
            await asyncio.sleep(30)
            network.heal(b, other.identity.node)
            await asyncio.sleep(30)
        assert forwarding.had_deferred[-2:] == [False, True]  # a, c

    with_line(scene, PathParams())


def test_without_a_link_to_whom_it_is_for_everybody_hears_at_once() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        narrow_star(nodes)
        await asyncio.sleep(10)
        network.cut(nodes[0].identity.node, nodes[1].identity.node)
        await asyncio.sleep(30)
        nodes[1].publish("held: for a")
        await asyncio.sleep(5)
        assert nodes[2].heard() == {"held: for a"}

    with_line(scene, PathParams())


def test_a_large_update_is_deferred_on_every_link() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        nodes[1].forwarding.by = Updates(nodes[0].identity.node, nodes[1])
        await asyncio.sleep(10)
        for size in (100, 2000):
            payload = Payload("dense32", size, inline=bytes(size))
            nodes[1].ledger.publish(Update(JOB, b"b" * 32, 1, 1, size, 1, 1, 0.0, payload))
        await asyncio.sleep(5)
        sizes = [{e.record.payload.size_bytes for e in n.ledger.load("update")} for n in nodes]  # type: ignore[union-attr]
        assert sizes == [{100, 2000}, {100, 2000}, {100}]
        await asyncio.sleep(20)
        assert len(nodes[2].ledger.load("update")) == 2

    with_line(scene, PathParams())


class Updates(OnlyTowards):
    """The same for updates."""

    def defer(self, author: NodeId, record: Record) -> Deferral | None:
        return Deferral(self.towards, 60.0) if isinstance(record, Update) else None

    def obsolete(self, author: NodeId, record: Record) -> bool:
        return False

    def unacknowledged(self, *, had_deferred: bool) -> list[bytes]:
        return [e.id for e in self.node.ledger.load("update")]


def test_a_narrow_link_costs_fewer_bytes_and_nobody_misses_a_record() -> None:
    carried = {}

    def play(narrow: bool) -> None:
        async def scene(network: SimNetwork, nodes: list[Node]) -> None:
            for node in nodes:
                node.exchange.shared.known_narrow = lambda _: narrow
            for number in range(60):
                nodes[number % 3].publish(f"record {number}")
                nodes[number % 3].exchange.publish_heartbeat()
                await asyncio.sleep(1.0)
            await asyncio.sleep(120)
            assert all(len(node.heard()) == 60 for node in nodes)
            a, b, c = (n.identity.node for n in nodes)
            carried[narrow] = sum(network.carried_bytes(*w) for w in ((a, b), (b, a), (b, c), (c, b)))

        with_line(scene, PathParams(rate_bytes_s=1200.0, delay_s=0.3))

    play(False)
    play(True)
    assert carried[True] < 0.9 * carried[False]
