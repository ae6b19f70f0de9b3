"""A stored model that lost a bit is noticed before anything is built on it, and had again from others."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from small_field import SmallField

from muster.protocol.records import StopRule
from muster.simulation.virtual.event_loop import run
from muster.storage.disk import DiskStore
from muster.storage.memory import MemoryStore
from muster.storage.store import Store


@pytest.mark.parametrize("coordinator", [True, False])
def test_nothing_is_built_on_a_damaged_model(coordinator: bool) -> None:
    """One bit changes while the node is off; the other node has the model as it was."""

    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a", stop=StopRule(rounds=30))
        await field.until(lambda: all(field.round(n, job) >= 5 for n in "ab"), 60.0)
        name = "a" if coordinator else "b"
        await field.cores[name].close()
        head = field.runner(name, job).head()
        assert head is not None
        blob = field.runner(name, job).models.blob_of(head.id)
        assert blob is not None
        field.stores[name].rot(blob)
        field.cores[name] = field.restart(name)
        await field.cores[name].start()
        assert await field.until(lambda: all(field.runner(n, job).state() == "finished" for n in "ab"), 600.0)
        await asyncio.sleep(30.0)
        assert any("was damaged on this disk" in text for text in field.said(name))
        for store in field.stores.values():
            assert all(store.sound(b) for b, _ in store.blobs())
        await field.close()

    run(main(), until_s=3600)


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_a_store_says_whether_a_blob_is_sound(kind: str, tmp_path: Path) -> None:
    disk, memory = DiskStore(tmp_path / "home"), MemoryStore(random.Random(1))
    store: Store = disk if kind == "disk" else memory
    blob = store.put_blob(b"weights" * 1000)
    assert store.sound(blob)
    if kind == "disk":
        path = disk.blob_path(blob)
        data = bytearray(path.read_bytes())
        data[100] ^= 4
        path.write_bytes(data)
    else:
        memory.rot(blob)
    assert not store.sound(blob)
    store.delete_blob(blob)
    with pytest.raises(KeyError):
        store.sound(blob)
    disk.close()
