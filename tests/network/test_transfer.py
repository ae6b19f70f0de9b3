"""Bulk in virtual time, over simulated links with honest rates."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from muster.network.transfer import Transfers
from muster.network.transfer_state import TransferLimits
from muster.records import BlobId, NodeId
from muster.simulation.loop import run
from muster.simulation.network import PathParams, SimLink, SimNetwork, Timing
from muster.storage.memory import MemoryStore
from muster.storage.store import StorageError

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


@pytest.mark.parametrize("rate", [64, 256, 1000, 5000, 20000])
def test_goodput_is_nine_tenths_of_the_rate(rate: float) -> None:
    # up to ten seconds of the link: the start, with nothing known, is part of it
    blob, data = data_of(int(min(rate * 125 * 10, 15_000_000)))

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        start_s = now()
        await world.nodes["b"].transfers.fetch(blob, len(data))
        assert world.nodes["b"].store.read_blob(blob) == data
        assert len(data) / (now() - start_s) >= 0.9 * rate * 125

    play("a-b", kbit(rate), scene)


def test_small_and_empty_blobs() -> None:
    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        for size_bytes in (0, 1, 4095, 4096, 4097, 20_000):
            blob, data = data_of(size_bytes)
            a.store.put_blob(data)
            await b.transfers.fetch(blob, size_bytes)
            assert b.store.read_blob(blob) == data
            assert b.transfers.status(blob) is None
        await b.transfers.fetch(blob, size_bytes)  # held already
        with pytest.raises(ValueError, match="over the limit"):
            await b.transfers.fetch(bytes(32), -1)

    play("a-b", FAST, scene)


def test_overhead_on_the_wire_is_small() -> None:
    blob, data = data_of(400_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        await world.nodes["b"].transfers.fetch(blob, len(data))
        params = world.network.params(ident("a"), ident("b"))
        assert params.overhead_bytes == 60
        assert world.carried("a", "b") < 1.02 * len(data)
        assert world.carried("b", "a") < 0.02 * len(data)

    play("a-b", kbit(256), scene)


def test_a_cut_is_survived_and_little_is_sent_again() -> None:
    blob, data = data_of(500_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        b = world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(6)
        status = b.transfers.status(blob)
        assert status is not None
        assert 0 < status.held_bytes < len(data)
        assert status.own
        assert status.sources == (ident("a"),)
        meter = b.transfers.meter(ident("a"))
        assert meter is not None
        window_bytes = meter.window().size_bytes
        world.network.cut(ident("a"), ident("b"))
        await asyncio.sleep(60)
        status = b.transfers.status(blob)
        assert status is not None
        assert status.sources == ()
        assert status.last_progress_s is not None
        assert now() - status.last_progress_s > 50
        world.network.heal(ident("a"), ident("b"))
        await fetch
        assert b.store.read_blob(blob) == data
        assert world.carried("a", "b") < 1.02 * len(data) + window_bytes

    play("a-b", kbit(256), scene)


def test_it_goes_on_from_another_peer() -> None:
    blob, data = data_of(400_000)

    async def scene(world: World) -> None:
        a, b, c = (world.nodes[name] for name in "abc")
        a.store.put_blob(data)
        c.hints[blob] = [a.id]
        fetch = asyncio.create_task(c.transfers.fetch(blob, len(data)))
        await asyncio.sleep(6)
        status = c.transfers.status(blob)
        assert status is not None
        held_bytes = status.held_bytes
        assert held_bytes > 100_000
        await world.kill("a")
        b.store.put_blob(data)
        await asyncio.sleep(15)
        await fetch
        assert world.carried("b", "c") < 1.05 * (len(data) - held_bytes)

    play("a-c b-c", kbit(256), scene)


@pytest.mark.parametrize("crash", [False, True])
def test_a_restarted_node_goes_on(crash: bool) -> None:
    blob, data = data_of(1_000_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        b = world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(20)
        status = b.transfers.status(blob)
        assert status is not None
        assert status.held_bytes > 500_000
        fetch.cancel()
        await world.kill("b")
        b = await world.add("b")
        seen: list[int] = []
        await b.transfers.fetch(blob, len(data), progress=lambda held, size: seen.append(held))
        # a power cut may cost what was not synced yet
        assert seen[0] >= status.held_bytes - (256 * 1024 if crash else 0) - 256 * 1024
        assert seen[-1] == len(data)
        assert seen == sorted(seen)
        assert b.store.read_blob(blob) == data

    play("a-b", kbit(256), scene)


def test_three_hops_are_cut_through() -> None:
    blob, data = data_of(300_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        for name, source in zip("bcd", "abc", strict=True):
            world.nodes[name].hints[blob] = [ident(source)]
        start_s = now()
        await world.nodes["d"].transfers.fetch(blob, len(data))
        one_hop_s = len(data) / 32_000
        assert now() - start_s < 1.35 * one_hop_s  # store and forward would be 3.0
        await asyncio.sleep(5)
        for name in "bcd":
            assert world.nodes[name].store.read_blob(blob) == data
        for a, b in ("ab", "bc", "cd"):
            assert world.carried(a, b) < 1.05 * len(data)

    play("a-b b-c c-d", kbit(256), scene)


def test_a_narrow_link_is_crossed_once() -> None:
    """Two islands, full mesh each, one narrow bridge; four want it behind."""
    blob, data = data_of(120_000)
    pairs = [f"{a}-{b}" for island in ("abcd", "efgh") for a, b in itertools.combinations(island, 2)]
    links = dict.fromkeys(pairs, FAST)
    links["d-e"] = NARROW

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        for name, source in zip("bcdefgh", "aaadeee", strict=True):
            world.nodes[name].hints[blob] = [ident(source)]
        start_s = now()
        async with asyncio.TaskGroup() as group:
            for name in "efgh":
                group.create_task(world.nodes[name].transfers.fetch(blob, len(data)))
        assert world.carried("d", "e") < 1.05 * len(data)
        assert now() - start_s < 1.25 * len(data) / 16_000
        assert all(world.nodes[name].store.has_blob(blob) for name in "defgh")

    play(" ".join(links), links, scene)


def test_a_slow_neighbour_does_not_hold_up_a_fast_one() -> None:
    slow, slow_data = data_of(100_000, 1)
    fast, fast_data = data_of(1_000_000, 2)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(slow_data)
        world.nodes["b"].store.put_blob(fast_data)
        c = world.nodes["c"]
        start_s = now()
        slow_task = asyncio.create_task(c.transfers.fetch(slow, len(slow_data)))
        await c.transfers.fetch(fast, len(fast_data), rank=5)
        assert now() - start_s < 1.15 * len(fast_data) / 125_000
        await slow_task

    play("a-c b-c", {"a-c": kbit(20), "b-c": FAST}, scene)


def test_several_sources_share_the_work_by_their_speed() -> None:
    blob, data = data_of(1_000_000)

    async def scene(world: World) -> None:
        for name in "ab":
            world.nodes[name].store.put_blob(data)
        start_s = now()
        await world.nodes["c"].transfers.fetch(blob, len(data))
        # 1000 + 256 kbit/s together: 6.4 s
        assert now() - start_s < 7.3
        assert world.carried("a", "c") + world.carried("b", "c") < 1.06 * len(data)
        assert world.carried("b", "c") > 0.12 * len(data)

    play("a-c b-c", {"a-c": FAST, "b-c": kbit(256)}, scene)


def test_fetches_of_one_blob_share_one_transfer() -> None:
    blob, data = data_of(100_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        b = world.nodes["b"]
        tasks = [asyncio.create_task(b.transfers.fetch(blob, len(data))) for _ in range(3)]
        await asyncio.sleep(0.3)
        tasks[0].cancel()
        await asyncio.gather(*tasks[1:])
        assert world.carried("a", "b") < 1.05 * len(data)

    play("a-b", FAST, scene)


def test_a_cancelled_fetch_stops_asking_and_keeps_what_came() -> None:
    blob, data = data_of(1_000_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        b = world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(10)
        fetch.cancel()
        await asyncio.sleep(5)
        carried = world.carried("a", "b")
        await asyncio.sleep(100)
        assert world.carried("a", "b") == carried
        assert b.transfers.statuses() == []
        assert sum(length for _, length in b.store.partial(blob, len(data)).missing()) < 0.8 * len(data)

    play("a-b", kbit(256), scene)


def test_lower_rank_goes_first() -> None:
    async def scene(world: World) -> None:
        done: list[int] = []
        async with asyncio.TaskGroup() as group:
            for rank in (3, 1, 2):
                blob, data = data_of(100_000, rank)
                world.nodes["a"].store.put_blob(data)
                task = group.create_task(world.nodes["b"].transfers.fetch(blob, len(data), rank=rank))
                task.add_done_callback(lambda task, rank=rank: done.append(rank))
                if rank == 3:
                    await asyncio.sleep(1)
        assert done == [1, 2, 3]

    play("a-b", kbit(256), scene)


def test_more_fetches_than_the_table_holds_take_turns() -> None:
    async def scene(world: World) -> None:
        await world.kill("b")
        b = await world.add("b", TransferLimits(transfers_max=2))
        blobs = [data_of(10_000, seed) for seed in range(6)]
        async with asyncio.TaskGroup() as group:
            for blob, data in blobs:
                world.nodes["a"].store.put_blob(data)
                group.create_task(b.transfers.fetch(blob, len(data)))
            await asyncio.sleep(0.1)
            assert len(b.transfers.statuses()) == 2

    play("a-b", FAST, scene)


def test_nobody_has_it_and_it_is_quiet_until_somebody_has() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(60)
        before = world.carried("b", "a")
        await asyncio.sleep(600)
        assert world.carried("b", "a") - before < 600 * 5  # bytes a second: a question a minute
        a.store.put_blob(data)
        b.hints[blob] = [a.id]
        start_s = now()
        b.transfers.poke()
        await fetch
        assert now() - start_s < 2

    play("a-b", FAST, scene)


def test_a_new_neighbour_that_has_it_is_asked_at_once() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        fetch = asyncio.create_task(world.nodes["b"].transfers.fetch(blob, len(data)))
        await asyncio.sleep(500)
        world.nodes["c"].store.put_blob(data)
        world.connect("b", "c", FAST)
        start_s = now()
        await fetch
        assert now() - start_s < 3

    async def prepare(world: World) -> None:
        await world.add("c")
        await scene(world)

    play("a-b", FAST, prepare)


def test_two_that_wait_for_each_other_both_get_it() -> None:
    blob, data = data_of(80_000)

    async def scene(world: World) -> None:
        b, c = world.nodes["b"], world.nodes["c"]
        for node in (b, c):
            node.hints[blob] = [b.id if node is c else c.id]
        tasks = [asyncio.create_task(node.transfers.fetch(blob, len(data))) for node in (b, c)]
        await asyncio.sleep(310)
        world.nodes["a"].store.put_blob(data)
        start_s = now()
        b.hints[blob] = [world.nodes["a"].id]
        b.transfers.poke()
        await asyncio.gather(*tasks)
        assert now() - start_s < 20

    play("a-b b-c", FAST, scene)


def test_a_ring_without_the_blob_does_not_go_round_for_ever() -> None:
    blob, _ = data_of(80_000)

    async def scene(world: World) -> None:
        for name, source in zip("abcd", "bcda", strict=True):
            world.nodes[name].hints[blob] = [ident(source)]
        fetch = asyncio.create_task(world.nodes["a"].transfers.fetch(blob, 80_000))
        await asyncio.sleep(700)
        total = sum(world.carried(*pair) for pair in ("ab", "bc", "cd", "da", "ba", "cb", "dc", "ad"))
        assert total < 700 * 50
        fetch.cancel()
        await asyncio.sleep(700)
        assert all(node.transfers.statuses() == [] for node in world.nodes.values())

    play("a-b b-c c-d d-a", FAST, scene)


def corrupt(node: Node, blob: BlobId, data: bytes) -> None:
    """The node's disk gives other bytes than it was given."""
    node.store._blobs[blob] = data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


def test_wrong_bytes_are_forgotten_and_another_source_is_asked_alone() -> None:
    blob, data = data_of(100_000)

    async def scene(world: World) -> None:
        corrupt(world.nodes["a"], blob, data)
        world.nodes["b"].store.put_blob(data)
        c = world.nodes["c"]
        c.hints[blob] = [world.nodes["a"].id]
        await c.transfers.fetch(blob, len(data))
        assert c.store.read_blob(blob) == data
        assert c.transfers.wrong_blobs in (1, 2)

    play("a-c b-c", FAST, scene)


def test_a_single_wrong_source_is_asked_ever_more_rarely() -> None:
    blob, data = data_of(20_000)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        corrupt(a, blob, data)
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(600)
        assert 3 <= b.transfers.wrong_blobs <= 20
        a.store._blobs[blob] = data
        await fetch
        assert b.store.read_blob(blob) == data

    play("a-b", FAST, scene)


def test_a_full_disk_fails_the_fetch_and_not_the_node() -> None:
    blob, data = data_of(500_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        b = world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(5)
        b.store.fill()
        with pytest.raises(StorageError):
            await fetch
        b.store.free()
        await b.transfers.fetch(blob, len(data))
        assert b.store.read_blob(blob) == data

    play("a-b", kbit(256), scene)


def test_a_blob_made_here_meanwhile_ends_the_fetch() -> None:
    blob, data = data_of(500_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        b = world.nodes["b"]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(5)
        b.store.put_blob(data)
        b.transfers.poke()
        await fetch
        await asyncio.sleep(5)
        assert world.carried("a", "b") < 0.6 * len(data)

    play("a-b", kbit(256), scene)


def test_a_node_that_does_not_relay_says_no() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        world.nodes["a"].store.put_blob(data)
        await world.kill("b")
        b = await world.add("b", TransferLimits(relay=False))
        b.hints[blob] = [ident("a")]
        await asyncio.sleep(2)
        c = world.nodes["c"]
        c.hints[blob] = [b.id]
        fetch = asyncio.create_task(c.transfers.fetch(blob, len(data)))
        await asyncio.sleep(30)
        assert b.transfers.statuses() == []
        await b.transfers.fetch(blob, len(data))
        start_s = now()
        await fetch
        assert now() - start_s < 65

    play("a-b b-c", FAST, scene)


@pytest.mark.parametrize("seed", range(5))
def test_it_gets_there_through_lost_asks_and_flapping_links(seed: int) -> None:
    blob, data = data_of(200_000, seed)
    bad = PathParams(rate_bytes_s=32_000, delay_s=0.05, jitter_s=0.2, ask_loss=0.05)

    async def scene(world: World) -> None:
        rng = random.Random(seed)
        world.nodes["a"].store.put_blob(data)
        world.nodes["b"].hints[blob] = [ident("a")]
        world.nodes["c"].hints[blob] = [ident("b")]
        fetch = asyncio.create_task(world.nodes["c"].transfers.fetch(blob, len(data)))
        pairs = [("a", "b"), ("b", "c")]
        for _ in range(15):
            pair = tuple(map(ident, rng.choice(pairs)))
            world.network.cut(*pair)
            await asyncio.sleep(rng.uniform(1, 30))
            world.network.heal(*pair)
            await asyncio.sleep(rng.uniform(1, 20))
        await fetch
        assert world.nodes["c"].store.read_blob(blob) == data

    play("a-b b-c", bad, scene, until_s=1500)


def test_malformed_questions_are_refused() -> None:
    from muster.network.chunk_wire import Ask, encode_ask
    from muster.network.link import Refused

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        good = bytes(32)
        for payload in (
            b"",
            b"\xc1",
            encode_ask(Ask(b"short", 0, 1)),
            encode_ask(Ask(good, -1, 1, 10)),
            encode_ask(Ask(good, 0, 1, 1 << 60)),
            encode_ask(Ask(good, 0, 1, 10, True, (b"x",))),
            encode_ask(Ask(good, 0, 1, 10, True, (bytes(8),) * 17)),
        ):
            with pytest.raises(Refused):
                await b.link.ask(a.id, "chunk", payload, timeout_s=5)

    play("a-b", FAST, scene)


def test_ones_own_record_wins_over_a_neighbours_word_about_the_size() -> None:
    blob, data = data_of(50_000)

    async def scene(world: World) -> None:
        a, b, c = (world.nodes[name] for name in "abc")
        wrong = asyncio.create_task(c.transfers.fetch(blob, 60_000))
        c.hints[blob] = b.hints[blob] = [a.id]
        await asyncio.sleep(3)
        a.store.put_blob(data)
        assert [status.size_bytes for status in b.transfers.statuses()] == [60_000]
        await b.transfers.fetch(blob, 50_000)
        assert b.store.read_blob(blob) == data
        with pytest.raises(ValueError, match="60000"):
            await c.transfers.fetch(blob, 50_000)
        wrong.cancel()

    play("a-b b-c", FAST, scene)


def test_questions_that_wait_for_data_do_not_hold_up_what_is_there() -> None:
    """As after a partition: many small blobs that nobody in reach has any more, and a model that is there."""
    blob, data = data_of(20_000)
    gone = [data_of(2500, seed)[0] for seed in range(100, 140)]

    async def scene(world: World) -> None:
        b, c = world.nodes["b"], world.nodes["c"]
        for each in gone:
            b.hints[each] = [ident("a")]
            c.hints[each] = [b.id]
        tasks = [asyncio.create_task(c.transfers.fetch(each, 2500, rank=1)) for each in gone]
        await asyncio.sleep(1)
        b.store.put_blob(data)
        c.hints[blob] = [b.id]
        start_s = now()
        await c.transfers.fetch(blob, len(data), rank=0)
        assert now() - start_s < 5.0
        for task in tasks:
            task.cancel()

    play("a-b b-c", FAST, scene)


def test_a_lost_nudge_costs_seconds() -> None:
    blob, data = data_of(2500)
    deaf = PathParams(rate_bytes_s=125_000, delay_s=0.05, nudge_loss=1.0)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        b.hints[blob] = [a.id]
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(310)
        a.store.put_blob(data)
        start_s = now()
        await fetch
        assert now() - start_s < 10

    play("a-b", deaf, scene)


def test_a_relay_asks_again_who_has_it() -> None:
    """A hub learnt of a blob from the one that now wants it back; its question to the others got lost."""
    blob, data = data_of(2500)
    deaf = PathParams(rate_bytes_s=125_000, delay_s=0.05, ask_loss=1.0)

    async def scene(world: World) -> None:
        a, b, c = (world.nodes[name] for name in "abc")
        b.hints[blob], a.hints[blob] = [a.id], [b.id]
        c.store.put_blob(data)
        fetch = asyncio.create_task(a.transfers.fetch(blob, len(data)))
        await asyncio.sleep(60)
        world.network.set(b.id, c.id, FAST)
        await asyncio.wait_for(fetch, 60)

    play("a-b b-c", {"a-b": FAST, "b-c": deaf}, scene)


def test_a_first_question_that_is_lost_costs_seconds() -> None:
    """Nothing is known of the link yet, and an update's record has just come over it."""
    blob, data = data_of(1400)
    deaf = PathParams(rate_bytes_s=125_000, delay_s=0.05, ask_loss=1.0)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        a.store.put_blob(data)
        b.hints[blob] = [a.id]
        start_s = now()
        fetch = asyncio.create_task(b.transfers.fetch(blob, len(data)))
        await asyncio.sleep(1)
        world.network.set(a.id, b.id, FAST)
        await fetch
        assert now() - start_s < 18

    play("a-b", deaf, scene)


@pytest.mark.parametrize("size_bytes", [1400, 4096, 30_000])
def test_nothing_is_asked_twice_over_a_crowded_narrow_link(size_bytes: int) -> None:
    """9.6 kbit/s and 300 ms, half of it taken by others, nothing known of it yet."""
    blob, data = data_of(size_bytes)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        a.store.put_blob(data)
        b.hints[blob] = [a.id]
        await b.transfers.fetch(blob, len(data))
        await asyncio.sleep(30)
        assert world.carried("a", "b") < 1.1 * len(data) + 100

    play("a-b", PathParams(rate_bytes_s=600, delay_s=0.3), scene)


def test_a_link_that_turned_a_hundred_times_slower_is_not_given_up() -> None:
    """What was measured of it foretells answers a hundred times too early: the next ones get longer."""
    blob, data = data_of(400_000)
    small, rest = data_of(20_000, 8)

    async def scene(world: World) -> None:
        a, b = world.nodes["a"], world.nodes["b"]
        a.store.put_blob(data)
        a.store.put_blob(rest)
        b.hints[blob] = b.hints[small] = [a.id]
        await b.transfers.fetch(blob, len(data))
        world.network.set(a.id, b.id, PathParams(rate_bytes_s=400, delay_s=0.3))
        await b.transfers.fetch(small, len(rest))

    play("a-b", kbit(1000), scene)
