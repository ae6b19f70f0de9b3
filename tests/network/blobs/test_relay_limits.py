"""What a node fetches for others is bounded by its disk limit, and nothing if its policy says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bulk_world import FAST, World, data_of, play

from muster.network.blobs.limits import TransferLimits
from muster.node.config import load_config
from muster.node.policy import PolicyConfig
from muster.storage.memory import MemoryStore

SIZE_BYTES = 50_000
FULL = TransferLimits(disk_limit_bytes=SIZE_BYTES + 1000)
NEVER = TransferLimits(relay=lambda: False)


async def fetched(world: World, blob: bytes, store: MemoryStore) -> bool:
    """Whether c gets a blob of a, over b, within two minutes."""
    fetch = asyncio.create_task(world.nodes["c"].transfers.fetch(blob, SIZE_BYTES))
    await asyncio.wait({fetch}, timeout=120.0)
    fetch.cancel()
    await asyncio.gather(fetch, return_exceptions=True)
    return world.nodes["c"].store.has_blob(blob)


@pytest.mark.parametrize("limits", [FULL, NEVER])
def test_a_relay_refuses_what_it_may_not_fetch(limits: TransferLimits) -> None:
    async def scene(world: World) -> None:
        await world.kill("b")
        b = await world.add("b", limits)
        first, second = (world.nodes["a"].store.put_blob(data_of(SIZE_BYTES, seed)[1]) for seed in (1, 2))
        await asyncio.sleep(10.0)
        assert await fetched(world, first, b.store) == limits.relay()
        assert not await fetched(world, second, b.store)
        assert b.store.used_bytes() <= SIZE_BYTES + 1000
        if limits.relay():  # as soon as there is room again
            b.store.delete_blob(first)
            assert await fetched(world, second, b.store)
        own = world.nodes["a"].store.put_blob(data_of(SIZE_BYTES, 3)[1])
        await b.transfers.fetch(own, SIZE_BYTES)  # its own work is another matter
        assert await fetched(world, own, b.store)  # and what it has it gives

    play("a-b b-c", FAST, scene)


def test_the_policy_is_read(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("[policy]\nrelay = false\n")
    assert load_config(path).policy == PolicyConfig(relay=False)


def test_what_is_relayed_stops_in_the_midst_when_its_owner_lets_others_use_no_more() -> None:
    """b has given its bytes when half of the blob has come; c gets the rest once b relays again."""
    size_bytes, open_ = 400_000, [True]
    limits = TransferLimits(relay=lambda: open_[0], gives=lambda blob: open_[0])

    async def scene(world: World) -> None:
        await world.kill("b")
        b, c = await world.add("b", limits), world.nodes["c"]
        blob = world.nodes["a"].store.put_blob(data_of(size_bytes)[1])
        await asyncio.sleep(10.0)
        fetch = asyncio.create_task(c.transfers.fetch(blob, size_bytes))
        while world.carried("a", "b") < size_bytes / 2:
            await asyncio.sleep(0.01)
        open_[0] = False
        await asyncio.sleep(20.0)
        before = world.carried("a", "b"), world.carried("b", "c")
        assert before[0] < 0.9 * size_bytes
        await asyncio.sleep(100.0)
        assert b.transfers.statuses() == []
        assert world.carried("a", "b") - before[0] < 5000
        assert world.carried("b", "c") - before[1] < 5000
        open_[0] = True
        await asyncio.wait({fetch}, timeout=120.0)
        assert c.store.has_blob(blob)
        assert world.carried("a", "b") < 1.3 * size_bytes, "what had come was not fetched again"

    play("a-b b-c", FAST, scene)


def test_a_blob_that_is_here_is_not_given_to_others_then() -> None:
    mine = set[bytes]()

    async def scene(world: World) -> None:
        await world.kill("b")
        b = await world.add("b", TransferLimits(gives=lambda blob: blob in mine))
        await asyncio.sleep(10.0)
        first, second = (b.store.put_blob(data_of(SIZE_BYTES, seed)[1]) for seed in (1, 2))
        mine.add(second)
        assert not await fetched(world, first, b.store)
        assert await fetched(world, second, b.store)
        mine.add(first)
        assert await fetched(world, first, b.store)

    play("a-b b-c", FAST, scene)
