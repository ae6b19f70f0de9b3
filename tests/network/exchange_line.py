"""A line of nodes that keep records and heartbeats level, without jobs, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from itertools import pairwise

from muster.network.sync.deferred import Deferral, Forwarding
from muster.network.sync.exchange import Exchange
from muster.network.sync.ledger import Ledger
from muster.network.sync.presence import Presence
from muster.network.transport.link import Link
from muster.network.transport.traffic_counters import TrafficCounters
from muster.network.trust.signing import TrustStore
from muster.protocol.ids import NodeId, RecordId
from muster.protocol.records import Record, Refusal
from muster.simulation.identities import PretendIdentity, PretendVerifier
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.network import SimNetwork
from muster.simulation.virtual.pipe import PathParams
from muster.storage.memory import MemoryStore

JOB = b"j" * 32


class ForwardAtOnce:
    """Defers nothing: for an exchange without jobs."""

    def defer(self, author: NodeId, record: Record) -> Deferral | None:
        return None

    def obsolete(self, author: NodeId, record: Record) -> bool:
        return False

    def unacknowledged(self, *, had_deferred: bool) -> list[RecordId]:
        return []


class Asked:
    """Asks what a test puts here, at any time; at first nothing is deferred."""

    def __init__(self) -> None:
        self.by: Forwarding = ForwardAtOnce()

    def defer(self, author: NodeId, record: Record) -> Deferral | None:
        return self.by.defer(author, record)

    def obsolete(self, author: NodeId, record: Record) -> bool:
        return self.by.obsolete(author, record)

    def unacknowledged(self, *, had_deferred: bool) -> list[bytes]:
        return self.by.unacknowledged(had_deferred=had_deferred)


class Node:
    """The lower half of a node: records and heartbeats, no jobs."""

    def __init__(
        self, network: SimNetwork, name: str, store: MemoryStore | None = None, link: Link | None = None
    ) -> None:
        self.identity = PretendIdentity(name)
        self.store = store or MemoryStore(random.Random(name))
        self.link = link or network.link(self.identity.node, name)
        self.ledger = Ledger(self.store, self.identity, TrustStore(PretendVerifier()))
        self.presence = Presence(
            self.identity.node, 1, lambda: asyncio.get_running_loop().time(), members=set()
        )
        self.forwarding = Asked()
        self.exchange = Exchange(
            self.link,
            self.store,
            self.ledger,
            self.presence,
            self.forwarding,
            traffic=TrafficCounters(),
            heartbeat_period_s=lambda _: 5.0,
        )

    async def start(self) -> None:
        self.ledger.replay()
        self.ledger.publish(self.identity.member())
        await self.exchange.start()
        await self.link.start()

    async def close(self) -> None:
        await self.exchange.close()
        await self.link.close()

    def publish(self, text: str) -> None:
        self.ledger.publish(Refusal(JOB, 1, 1, text))

    def heard(self) -> set[str]:
        return {e.record.reason for e in self.ledger.load("refusal")}  # type: ignore[union-attr]


def with_line(
    scene: Callable[[SimNetwork, list[Node]], Awaitable[None]], params: PathParams, names: str = "abc"
) -> None:
    async def main() -> None:
        network = SimNetwork(random.Random(1))
        nodes = [Node(network, name) for name in names]
        for left, right in pairwise(nodes):
            network.connect(left.identity.node, right.identity.node, params)
        for node in nodes:
            await node.start()
        await scene(network, nodes)
        for node in nodes:
            await node.close()

    run(main(), until_s=10_000)
