"""Members' addresses spread through whoever both reach; a member that moved is dialled at its new address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from muster.network.supervisor import Supervisor
from muster.network.transport.endpoints import Endpoint, endpoint
from muster.network.transport.link import Handler, Neighbour, Unreachable
from muster.network.transport.members.telling import AGAIN_S, MemberAddresses
from muster.protocol.ids import NodeId
from muster.simulation.virtual.event_loop import run

OLD, NEW = endpoint("192.0.2.7:7447"), endpoint("198.51.100.9:7447")
NOW_S = 1_796_000_000.0


@dataclass
class Node:
    """A node with links that the test makes and cuts."""

    node: NodeId
    at: Endpoint
    clock_s: float = NOW_S
    session: bytes = b"\x80" + bytes(7)
    handlers: dict[str, Handler] = field(default_factory=dict)
    near: dict[NodeId, Node] = field(default_factory=dict)
    since_s: dict[NodeId, float] = field(default_factory=dict)
    leads: dict[Endpoint, NodeId] = field(default_factory=dict)
    dials: list[tuple[float, bytes, Endpoint]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    kept: bytes | None = None
    deaf: bool = False

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return {node: Neighbour(node, node[:1].decode(), self.since_s[node]) for node in self.near}

    async def ask(self, node: NodeId, topic: str, payload: bytes, *, timeout_s: float) -> bytes:
        self.sent.append(len(payload))
        await asyncio.sleep(0.05)
        other = self.near.get(node)
        if other is None or other.deaf:
            raise Unreachable("gone")
        return await other.handlers[topic](self.node, payload)

    def serve(self, topic: str, handler: Handler) -> None:
        self.handlers[topic] = handler

    def place(self) -> tuple[bytes, list[str]]:
        return self.session, [str(self.at)]

    def members_at(self) -> dict[Endpoint, NodeId]:
        return {point: node for point, node in self.leads.items() if node in self.near}

    def dial(self, session: bytes, point: Endpoint) -> None:
        self.dials.append((asyncio.get_running_loop().time(), session, point))

    def begin(self, supervisor: Supervisor) -> MemberAddresses:
        def keep(data: bytes) -> None:
            self.kept = data

        made = MemberAddresses(
            self,
            self.kept,
            keep=keep,
            wall_s=lambda: self.clock_s,
            on_problem=self.said.append,
            supervisor=supervisor,
        )
        supervisor.keep("telling", made.run)
        return made


def join(one: Node, other: Node) -> None:
    for here, there in ((one, other), (other, one)):
        here.near[there.node], here.since_s[there.node] = there, asyncio.get_running_loop().time()


def cut(one: Node, other: Node) -> None:
    for here, there in ((one, other), (other, one)):
        here.near.pop(there.node, None)


def world(test: Callable[[Supervisor, Node, Node, Node], Coroutine[Any, Any, None]]) -> None:
    """ann listens at OLD; cat dials it; bob reaches both."""

    async def main() -> None:
        supervisor = Supervisor()
        ann, bob, cat = (
            Node(name * 32, at)
            for name, at in ((b"a", OLD), (b"b", endpoint("192.0.2.8:1")), (b"c", endpoint("192.0.2.9:1")))
        )
        cat.leads[OLD] = ann.node
        await test(supervisor, ann, bob, cat)
        await supervisor.close()

    run(main())


def test_a_listener_with_a_new_address_is_found_through_whoever_both_reach() -> None:
    async def test(supervisor: Supervisor, ann: Node, bob: Node, cat: Node) -> None:
        now = asyncio.get_running_loop().time
        for node in (ann, bob, cat):
            node.begin(supervisor)
        join(ann, cat)
        join(ann, bob)
        join(bob, cat)
        await asyncio.sleep(100.0)
        assert not cat.dials
        cut(ann, cat)
        cut(ann, bob)
        moved_s = now()
        ann.at, ann.session = NEW, b"\x81" + bytes(7)
        await asyncio.sleep(30.0)
        assert not cat.dials, "nobody knows where ann is"
        join(ann, bob)
        back_s = now()
        await asyncio.sleep(15.0)
        at_s, session, point = cat.dials[0]
        assert (session, point) == (ann.session, NEW)
        assert at_s - back_s < 10.0
        assert at_s > moved_s
        assert len(cat.dials) <= 3, "it is dialled the less often the longer it does not answer"
        join(ann, cat)
        dials = len(cat.dials)
        await asyncio.sleep(100.0)
        assert len(cat.dials) == dials, "a neighbour is not dialled, wherever it is configured"

    world(test)


def test_what_is_known_is_known_after_a_restart() -> None:
    async def test(supervisor: Supervisor, ann: Node, bob: Node, cat: Node) -> None:
        first = Supervisor()
        for node in (ann, bob):
            node.begin(supervisor)
        cat.begin(first)
        join(ann, cat)
        await asyncio.sleep(5.0)
        ann.at = NEW
        await asyncio.sleep(120.0)
        await first.close()
        cut(ann, cat)
        cat.begin(supervisor)
        await asyncio.sleep(10.0)
        assert [point for _, _, point in cat.dials][:1] == [NEW]

    world(test)


def test_nothing_is_sent_while_nothing_changes_and_each_register_goes_once() -> None:
    async def test(supervisor: Supervisor, ann: Node, bob: Node, cat: Node) -> None:
        for node in (ann, bob, cat):
            node.begin(supervisor)
        join(ann, bob)
        join(bob, cat)
        await asyncio.sleep(60.0)
        sent = [len(node.sent) for node in (ann, bob, cat)]
        assert sum(sent) <= 7
        assert sum(sum(node.sent) for node in (ann, bob, cat)) < 400
        await asyncio.sleep(3600.0)
        assert [len(node.sent) for node in (ann, bob, cat)] == sent
        ann.at = NEW
        await asyncio.sleep(60.0)
        assert [len(node.sent) for node in (ann, bob, cat)] == [sent[0] + 1, sent[1] + 1, sent[2]]

    world(test)


def test_a_neighbour_that_does_not_answer_is_told_later() -> None:
    async def test(supervisor: Supervisor, ann: Node, bob: Node, cat: Node) -> None:
        ann.begin(supervisor)
        held = bob.begin(supervisor)
        bob.deaf = True
        join(ann, bob)
        await asyncio.sleep(10.0)
        assert len(ann.sent) == 1
        bob.deaf = False
        await asyncio.sleep(AGAIN_S)
        assert ann.node[:8] in held.book.places

    world(test)


def test_a_clock_that_is_wrong_is_said_once_on_both_sides() -> None:
    async def test(supervisor: Supervisor, ann: Node, bob: Node, cat: Node) -> None:
        ann.clock_s = 300.0
        of_ann, of_bob, of_cat = (node.begin(supervisor) for node in (ann, bob, cat))
        join(ann, bob)
        join(bob, cat)
        await asyncio.sleep(30.0)
        cut(ann, bob)
        join(ann, bob)
        await asyncio.sleep(30.0)
        assert len(ann.said) == 1
        assert ann.said[0].startswith("the clock of this machine says 1970-01-01: set it")
        assert len(bob.said) == 1
        assert bob.said[0].startswith("the clock of a says 1970-01-01: set it there")
        assert not cat.said
        assert (of_ann.clock_faults(), of_bob.clock_faults()) == (ann.said, bob.said)
        assert of_cat.clock_faults() == []
        cut(ann, bob)
        assert of_bob.clock_faults() == []  # only of those in reach

    world(test)


def test_garbage_from_a_neighbour_changes_nothing() -> None:
    async def test(supervisor: Supervisor, ann: Node, bob: Node, cat: Node) -> None:
        held = ann.begin(supervisor)
        for payload in (b"", b"\xc1", b"\x93\x01\x02", bytes(1000)):
            assert await ann.handlers["a"](bob.node, payload) == b""
        assert set(held.book.places) <= {ann.node[:8]}

    world(test)
