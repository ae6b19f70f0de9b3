"""Nodes that fetch and serve blobs in virtual time, over simulated links with honest rates."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from muster.network.blobs.limits import TransferLimits
from muster.network.blobs.transfers import Transfers
from muster.protocol.ids import BlobId, NodeId
from muster.simulation.virtual.event_loop import run
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.network import SimNetwork, Timing
from muster.simulation.virtual.pipe import PathParams
from muster.storage.memory import MemoryStore

FAST = PathParams(rate_bytes_s=125_000, delay_s=0.05)
NARROW = PathParams(rate_bytes_s=16_000, delay_s=0.3)


def kbit(rate: float) -> PathParams:
    return PathParams(rate_bytes_s=rate * 125, delay_s=0.05)


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Node:
    id: NodeId
    link: SimLink
    store: MemoryStore
    hints: dict[BlobId, list[NodeId]]
    transfers: Transfers
    asked: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class World:
    network: SimNetwork
    rng: random.Random
    nodes: dict[str, Node] = field(default_factory=dict)

    async def add(self, name: str, limits: TransferLimits | None = None) -> Node:
        """A new node, or one that starts again on the store it had."""
        before = self.nodes.get(name)
        store = before.store if before else MemoryStore(self.rng)
        hints: dict[BlobId, list[NodeId]] = before.hints if before else {}
        link = self.network.link(ident(name), name)
        transfers = Transfers(link, store, hints=lambda blob: hints.get(blob, []), limits=limits)
        transfers.start()
        node = self.nodes[name] = Node(link.node, link, store, hints, transfers)
        await link.start()
        return node

    def fetching(self, data: bytes) -> tuple[Node, asyncio.Task[None]]:
        """Node b, and its fetch of what a holds, which has just begun."""
        a, b = self.nodes["a"], self.nodes["b"]
        blob = a.store.put_blob(data)
        return b, asyncio.create_task(b.transfers.fetch(blob, len(data)))

    async def kill(self, name: str) -> None:
        node = self.nodes[name]
        self.network.kill(node.id)
        await node.transfers.close()
        node.store.crash(self.rng)

    def connect(self, a: str, b: str, params: PathParams) -> None:
        self.network.connect(ident(a), ident(b), params)

    def carried(self, a: str, b: str) -> int:
        return self.network.carried_bytes(ident(a), ident(b))


def ident(name: str) -> NodeId:
    return hashlib.sha256(name.encode()).digest()


def data_of(size_bytes: int, seed: int = 7) -> tuple[BlobId, bytes]:
    data = random.Random(seed).randbytes(size_bytes)
    return hashlib.sha256(data).digest(), data


Scene = Callable[[World], Coroutine[Any, Any, None]]


def play(links: str, params: PathParams | dict[str, PathParams], scene: Scene, until_s: float = 3600) -> None:
    """`links` like "a-b b-c": nodes of one letter, all started and up when `scene` begins."""

    async def main() -> None:
        world = World(SimNetwork(random.Random(5), Timing(lease_s=10, connect_s=0.5)), random.Random(6))
        for pair in links.split():
            a, b = pair.split("-")
            world.connect(a, b, params[pair] if isinstance(params, dict) else params)
        for name in sorted({letter for letter in links if letter.isalpha()}):
            await world.add(name)
        await asyncio.sleep(2)
        await scene(world)

    run(main(), until_s)
