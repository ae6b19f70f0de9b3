"""Who goes on sending what nobody can use is asked later, then not heard, and comes back by itself."""

from __future__ import annotations

import asyncio

import pytest
from bulk_world import World, data_of, ident, play
from exchange_line import JOB, Node, with_line

from muster.network.blobs.chunk_messages import TOPIC
from muster.network.sync.messages import Announce, pack_announce
from muster.network.transport.link import Refused
from muster.network.transport.offences import CUT_FROM, CUT_S, THROTTLED_FROM
from muster.network.trust.signing import seal
from muster.protocol.records import Refusal
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams

LAN = PathParams()


def impossible(maker: Node, number: int) -> bytes:
    """A record that no node takes, signed by its maker."""
    return seal(maker.identity, Refusal(JOB, -1 - number, 1, "no"))[1]


def says(sender: Node, hearer: Node, data: bytes) -> None:
    """The sender announces it, as an older version or a hostile member might."""
    packed = pack_announce(Announce(1, 0, [], [data], b""), sender.store.incarnation)
    sender.link.nudge(hearer.identity.node, "n", packed)


async def relay(a: Node, b: Node, maker: Node, count: int) -> None:
    for number in range(count):
        says(b, a, impossible(maker, number))
        await asyncio.sleep(0.05)


def test_a_neighbour_that_passes_on_what_is_refused_is_no_offender_and_its_maker_is_cut() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b, c = nodes
        await asyncio.sleep(5)
        shared = a.exchange.shared
        problems: list[str] = []
        shared.authors._on_problem = problems.append
        await relay(a, b, c, CUT_FROM + 20)
        assert not shared.offences.pause_s(b.identity.node)
        assert shared.authors.cut(c.identity.node)
        assert a.ledger.refusals.by_author[c.identity.node] == CUT_FROM
        assert len(problems) == 1
        assert problems[0].startswith("what c makes is not taken from anybody for 600 s")
        b.publish("of b")
        c.publish("of c")
        await asyncio.sleep(60)
        assert a.heard() == {"of b"}, "what b makes is heard, what c makes is not"
        await asyncio.sleep(CUT_S)
        assert a.heard() == {"of b", "of c"}, "nothing is missed in the end"

    with_line(scene, LAN)


def test_what_was_passed_over_is_asked_for_after_a_restart_too() -> None:
    """The cursor that is kept stands before what was passed over."""

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b, c = nodes
        await asyncio.sleep(5)
        await relay(a, b, c, CUT_FROM)
        c.publish("of c")
        await asyncio.sleep(60)
        assert not a.heard()
        await a.close()
        again = nodes[0] = Node(network, "a", a.store)
        await again.start()
        await asyncio.sleep(30)
        assert again.heard() == {"of c"}

    with_line(scene, LAN)


def test_junk_in_announcements_is_counted() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b = nodes
        await asyncio.sleep(5)
        for _ in range(THROTTLED_FROM + 2):
            says(b, a, b"\x77 junk")
            await asyncio.sleep(0.05)
        assert a.exchange.shared.offences.pause_s(b.identity.node) >= 3.0

    with_line(scene, LAN, "ab")


def test_a_forged_record_is_no_fault_of_whom_it_names() -> None:
    """b signs in the name of c: the signature is wrong, and c goes on being heard."""

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        a, b, c = nodes
        await asyncio.sleep(5)
        for number in range(CUT_FROM + 5):
            wire = bytearray(impossible(c, number))
            wire[-1] ^= 1
            says(b, a, bytes(wire))
            await asyncio.sleep(0.05)
        assert not a.exchange.shared.authors.cut(c.identity.node)

    with_line(scene, LAN)


def test_garbage_in_questions_for_chunks_is_an_offence() -> None:
    blob, data = data_of(1000)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        a.store.put_blob(data)
        for _ in range(CUT_FROM):
            with pytest.raises(Refused, match="not a question"):
                await b.link.ask(a.id, TOPIC, b"\xff" * 40, timeout_s=5)
        with pytest.raises(Refused, match="nobody can use"):
            await b.link.ask(a.id, TOPIC, b"\xff" * 40, timeout_s=5)
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(CUT_S / 2)
        assert not fetch.done()
        await asyncio.sleep(CUT_S)
        await asyncio.wait_for(fetch, 1.0)

    play("a-b", LAN, scene)


def test_garbage_in_answers_for_chunks_is_an_offence() -> None:
    blob, data = data_of(1000)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        a.store.put_blob(data)

        async def junk(node: bytes, question: bytes) -> bytes:
            return b"\xff"

        a.link.serve(TOPIC, junk)
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        b.hints[blob] = [ident("a")]
        b.transfers.poke()
        await asyncio.sleep(30)
        assert b.transfers._offences._known[a.id].at_s
        fetch.cancel()
        await asyncio.gather(fetch, return_exceptions=True)

    play("a-b", LAN, scene)
