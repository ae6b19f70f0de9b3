"""What a node fetches for others is bounded by its disk limit, and nothing if its policy says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bulk_world import FAST, World, data_of, play

from muster.network.blobs.limits import TransferLimits
from muster.node.config import PolicyConfig, load_config
from muster.storage.memory import MemoryStore

SIZE_BYTES = 50_000
FULL = TransferLimits(disk_limit_bytes=SIZE_BYTES + 1000)
NEVER = TransferLimits(relay=False)


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
        assert await fetched(world, first, b.store) == limits.relay
        assert not await fetched(world, second, b.store)
        assert b.store.used_bytes() <= SIZE_BYTES + 1000
        if limits.relay:  # as soon as there is room again
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
