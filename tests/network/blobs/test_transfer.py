"""Bulk in virtual time: how fast, over how many hops, and who goes first."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from bulk_world import FAST, NARROW, World, data_of, ident, kbit, now, play

from muster.network.blobs.limits import TransferLimits


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
