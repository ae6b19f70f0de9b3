"""Presence among many nodes: all are known whoever is linked to whom, and a flood stays where it is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import combinations

from exchange_line import Node

from muster.network.sync.heartbeat import Heartbeat, pack_heartbeats
from muster.network.sync.messages import Announce, pack_announce
from muster.network.sync.relays import SMALL_FLEET
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams

Scene = Callable[[SimNetwork, list[Node]], Awaitable[None]]


def with_fleet(scene: Scene, links: list[tuple[int, int]]) -> None:
    async def main() -> None:
        network = SimNetwork(random.Random(1))
        count = 1 + max(max(pair) for pair in links)
        nodes = [Node(network, f"n{number:02d}") for number in range(count)]
        for node in nodes:
            node.exchange._announcer._heartbeat_period_s = lambda _: 2.0
        for a, b in links:
            network.connect(nodes[a].identity.node, nodes[b].identity.node, PathParams())
        for node in nodes:
            await node.start()
        await asyncio.sleep(30)
        await scene(network, nodes)
        for node in nodes:
            await node.close()

    run(main(), until_s=10_000)


def presence_bytes(node: Node) -> dict[bytes, int]:
    return {other: sent.presence for other, sent in node.exchange.traffic.by_neighbour.items()}


MESH = list(combinations(range(SMALL_FLEET + 6), 2))


def test_two_of_a_mesh_that_lose_their_link_go_on_hearing_of_each_other_in_time() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        one, other = nodes[0], nodes[1]
        network.cut(one.identity.node, other.identity.node)
        for _ in range(120):  # no heartbeat comes; the link is given up by and by
            await asyncio.sleep(0.5)
            assert one.presence.lively(other.identity.node)
            assert other.presence.lively(one.identity.node)
        age_s = one.presence.age_s(other.identity.node)
        assert age_s is not None
        assert age_s < 6.0

    with_fleet(scene, MESH)


def test_in_a_mesh_a_node_says_hardly_more_than_how_it_is_itself() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        before = presence_bytes(nodes[0])
        await asyncio.sleep(60)
        after = presence_bytes(nodes[0])
        # 30 heartbeats of 10 bytes, two others with each, now and then whom it hears itself
        assert all(after[other] - before[other] < 1200 for other in after)

    with_fleet(scene, MESH)


def test_all_of_a_long_line_are_known_at_both_ends() -> None:
    count = SMALL_FLEET + 6

    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        await asyncio.sleep(30)
        for node in nodes:
            assert all(node.presence.lively(other.identity.node) for other in nodes)
        nodes[-1].presence.set_status("training", 0.5, None, b"jobs", 1)
        nodes[-1].exchange.publish_heartbeat()
        await asyncio.sleep(0.5 * count)  # another job is passed on at once, not every two seconds
        assert nodes[0].presence.works_for(nodes[-1].identity.node, b"jobs" + bytes(28))

    with_fleet(scene, [(number, number + 1) for number in range(count - 1)])


def test_a_flood_of_made_up_nodes_stays_on_the_link_it_comes_by() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        liar, victim, others = nodes[0], nodes[1], nodes[2:]
        before = [presence_bytes(node) for node in (victim, *others)]
        for turn in range(200):
            names = [random.Random(100 * turn + n).randbytes(8) for n in range(20)]
            made_up = [Heartbeat(name, 1, 1, 3, 0, 255, b"jobs", 1) for name in names]
            message = Announce(0, 0, [], [], pack_heartbeats(made_up, liar.identity.node[:8]))
            liar.link.nudge(victim.identity.node, "n", pack_announce(message, liar.store.incarnation))
            await asyncio.sleep(0.1)
        known = {node.identity.node[:8] for node in nodes}
        for node in others:
            assert set(node.presence.table) <= known
        assert all(victim.presence.lively(node.identity.node) for node in nodes)
        for was, node in zip(before, (victim, *others), strict=True):
            assert all(sent - was.get(to, 0) < 20 * 100 for to, sent in presence_bytes(node).items())

    with_fleet(scene, [(0, 1), *((a, b) for a, b in MESH if a > 0)])


def exchange_bytes(nodes: list[Node]) -> int:
    return sum(sent.exchange for node in nodes for sent in node.exchange.traffic.by_neighbour.values())


def test_in_a_mesh_a_record_is_announced_by_whom_it_comes_from_and_not_by_everybody_to_everybody() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        before = exchange_bytes(nodes)
        await asyncio.sleep(60)
        quiet, before = exchange_bytes(nodes) - before, exchange_bytes(nodes)
        for number in range(10):
            nodes[number].publish(f"record {number}")
            await asyncio.sleep(6)
        assert all(len(node.heard()) == 10 for node in nodes)
        assert not any(peer.outbound.held for node in nodes for peer in node.exchange.shared.peers.values())
        links = len(nodes) * (len(nodes) - 1)
        assert exchange_bytes(nodes) - before - quiet < 10 * links * 14 / 3  # all to all: 14 bytes each

    with_fleet(scene, MESH)


def test_a_record_whose_author_is_cut_off_comes_by_others_once_he_is_not_heard() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        network.cut(nodes[0].identity.node, nodes[1].identity.node)
        nodes[0].publish("over others")
        await asyncio.sleep(10)
        assert nodes[1].heard() == {"over others"}

    with_fleet(scene, MESH)


def test_who_was_away_when_a_record_came_gets_it_from_any_one_who_held_it() -> None:
    async def scene(network: SimNetwork, nodes: list[Node]) -> None:
        away = nodes[1].identity.node
        network.cut(nodes[0].identity.node, away)
        nodes[0].publish("before it was known")
        await asyncio.sleep(3)  # meanwhile others say up to which record all was announced
        network.isolate(away)
        await nodes[0].close()
        await asyncio.sleep(40)
        network.heal(away, nodes[7].identity.node)
        await asyncio.sleep(20)
        assert nodes[1].heard() == {"before it was known"}
        await nodes[0].start()

    with_fleet(scene, MESH)
