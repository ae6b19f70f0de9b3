"""Nodes on simulated networks hear each other's beacons, and each pair dials once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

from muster.network.supervisor import Pulse
from muster.network.transport.lan.beacon import Beacon, decode, encode, fleet_tag
from muster.network.transport.lan.discovery import SAY_S, Discovery
from muster.network.transport.lan.heard import SECOND_S
from muster.network.transport.lan.interfaces import Interface
from muster.network.transport.lan.overlay import LINKS_MOST
from muster.simulation.virtual.event_loop import run

FLEET = fleet_tag(b"north")
PORT = 7447


class Ether:
    """Multicast between nodes on interfaces of one name; it loses a share of what is sent."""

    def __init__(self, loss: float = 0.0) -> None:
        self.sockets: list[FakeSockets] = []
        self.loss, self.rng = loss, random.Random(7)
        self.carried: list[tuple[float, bytes]] = []

    def open(self, heard: Callable[[bytes, str], None]) -> Any:
        self.sockets.append(FakeSockets(self, heard))
        return self.sockets[-1]


class FakeSockets:
    refusal = ""

    def __init__(self, ether: Ether, heard: Callable[[bytes, str], None]) -> None:
        self.ether, self.heard = ether, heard
        self.joined: dict[str, Interface] = {}

    def join(self, interfaces: Iterable[Interface]) -> None:
        self.joined = {one.name: one for one in interfaces if one.running}

    def send(self, beacon: Callable[[Interface], bytes]) -> None:
        loop = asyncio.get_running_loop()
        for name, mine in self.joined.items():
            data = beacon(mine)
            self.ether.carried.append((loop.time(), data))
            for other in self.ether.sockets:
                if name in other.joined and self.ether.rng.random() >= self.ether.loss:
                    loop.call_later(0.001, other.heard, data, mine.addresses[0])

    def close(self) -> None:
        self.joined = {}


class Node:
    """A node whose dials succeed at once; `links` are the sessions that it has links to."""

    all: dict[str, Node]

    def __init__(self, number: int, ether: Ether, fleet: bytes = FLEET) -> None:
        self.number, self.session = number, f"{number | 1 << 63:016x}"
        self.links: set[str] = set()
        self.dials: list[tuple[float, str, str]] = []
        self.problems: list[str] = []
        self.dialable = True
        self.discovery = Discovery(
            fleet,
            (number << 57).to_bytes(8, "big"),  # in their order, and spread as hashes are
            linked=self.links.__contains__,
            links=lambda: len(self.links),
            ready=lambda: True,
            dial=self.dial,
            on_problem=self.problems.append,
            open_sockets=ether.open,
        )
        self.discovery.session(self.session, lambda interface: PORT)

    def dial(self, session: str, address: str, port: int) -> None:
        assert port == PORT
        self.dials.append((asyncio.get_running_loop().time(), session, address))
        other = Node.all[session]
        if other.dialable:
            self.links.add(session)
            other.links.add(self.session)
            for node in (self, other):
                node.discovery.changed(up=True)

    def on(self, *names: str) -> None:
        self.discovery.interfaces(
            [Interface(n, i, True, True, (f"10.{i}.0.{self.number}",)) for i, n in enumerate(names, 1)]
        )


def scene(play: Callable[[list[Node], Ether], Any], count: int, loss: float = 0.0) -> None:
    async def main() -> None:
        ether = Ether(loss)
        nodes = [Node(number, ether) for number in range(1, count + 1)]
        Node.all = {node.session: node for node in nodes}
        tasks = [asyncio.ensure_future(node.discovery.run(Pulse())) for node in nodes]
        await play(nodes, ether)
        for task in tasks:
            task.cancel()

    run(main())


def test_a_network_that_comes_late_is_used_at_once_and_each_pair_dials_once() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        await asyncio.sleep(100)
        for node in nodes:
            node.on("lan")
        await asyncio.sleep(1.5)
        assert all(len(node.links) == len(nodes) - 1 for node in nodes)
        assert sum(len(node.dials) for node in nodes) == len(nodes) * (len(nodes) - 1) // 2

    scene(play, 6)


def test_beacons_that_are_lost_only_delay() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        for node in nodes:
            node.on("lan")
        await asyncio.sleep(2 * SAY_S)
        assert all(len(node.links) == len(nodes) - 1 for node in nodes)

    scene(play, 4, loss=0.5)


def test_who_cannot_be_dialled_dials() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        nodes[1].dialable = False  # behind a firewall; the first one has the lower id
        for node in nodes:
            node.on("lan")
        await asyncio.sleep(SECOND_S + 1.5)
        assert nodes[1].session in nodes[0].links

    scene(play, 2)


def test_a_quiet_network_costs_one_beacon_in_half_a_minute() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        for node in nodes:
            node.on("lan")
        await asyncio.sleep(60)
        before = len(ether.carried)
        await asyncio.sleep(600)
        assert len(ether.carried) - before <= len(nodes) * 600 / SAY_S + len(nodes)

    scene(play, 3)


def test_forty_nodes_that_start_at_once_are_one_network_and_do_not_flood() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        for node in nodes:
            node.on("lan")
        await asyncio.sleep(2 * SAY_S)
        busiest = max(sum(at <= t < at + 1 for t, _ in ether.carried) for at in range(int(2 * SAY_S)))
        assert busiest <= 3 * len(nodes)
        assert max(len(node.links) for node in nodes) <= LINKS_MOST
        reached = [nodes[0].session]
        for session in reached:
            reached += [other for other in sorted(Node.all[session].links) if other not in reached]
        assert len(reached) == len(nodes)

    scene(play, 40)


def test_another_fleet_is_not_dialled() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        stranger = Node(99, ether, fleet_tag(b"south"))
        Node.all[stranger.session] = stranger
        task = asyncio.ensure_future(stranger.discovery.run(Pulse()))
        for node in (*nodes, stranger):
            node.on("lan")
        await asyncio.sleep(30)
        assert not stranger.links
        assert not stranger.dials
        task.cancel()

    scene(play, 2)


def test_a_lost_neighbour_is_dialled_where_it_is_heard() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        first, second = nodes
        for node in nodes:
            node.on("one", "two")
        await asyncio.sleep(2)
        second.on("gone", "two")  # its interface on the first network is dead
        await asyncio.sleep(2)
        for node, other in ((first, second), (second, first)):
            node.links.discard(other.session)
            node.discovery.changed(up=False)
        await asyncio.sleep(1.5)
        assert second.session in first.links
        assert first.dials[-1][2].startswith("10.2.")

    scene(play, 2)


def test_an_answer_is_no_question() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        nodes[0].on("lan")
        await asyncio.sleep(60)  # it asks no more
        ether.carried.clear()
        asks = Beacon("who", FLEET, (2).to_bytes(8, "big"), nodes[1].session, PORT)
        ether.sockets[0].heard(encode(asks), "10.1.0.2")
        await asyncio.sleep(1.0)
        kinds = [decoded.kind for _, data in ether.carried if (decoded := decode(data)) is not None]
        assert kinds[0] == "here"

    scene(play, 2)


def test_a_machine_that_refuses_multicast_says_what_to_do_once() -> None:
    async def play(nodes: list[Node], ether: Ether) -> None:
        ether.sockets[0].refusal = "Address already in use"  # type: ignore[misc]
        nodes[0].on("lan")
        nodes[0].on("lan")
        assert nodes[0].problems == [
            "nodes on the local network cannot be heard (Address already in use): name them with --connect"
        ]

    scene(play, 1)
