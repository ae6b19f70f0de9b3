"""A stored model that lost a bit is noticed before anything is built on it, and had again from others."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from small_field import SmallField

from muster.job.coordinator import commit_writer
from muster.job.participant import update_writer
from muster.protocol.parts import StopRule
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


def test_a_payload_that_is_damaged_before_it_is_added_is_fetched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bits of an update that came from b change on the disk of a, which coordinates."""
    rotten: list[bytes] = []
    make = commit_writer.make_downlink

    def damaged(store: Any, job: Any, onto: Any, updates: Any, *rest: Any) -> Any:
        theirs = [u.record.payload.blob for u in updates if u.source]
        if theirs and not rotten:
            rotten.append(theirs[0])
            store.rot(theirs[0])
        return make(store, job, onto, updates, *rest)

    monkeypatch.setattr(commit_writer, "make_downlink", damaged)
    monkeypatch.setattr(update_writer, "UPDATE_INLINE_BYTES_MAX", 10)

    async def main() -> None:
        field = SmallField("ab")
        await field.start()
        job = field.ask("a")
        assert await field.until(lambda: all(field.round(n, job) == 3 for n in "ab"), 120.0)
        assert rotten
        assert sum("payload" in text and "was damaged" in text for text in field.said("a")) == 1
        view = field.runner("a", job).view
        head = field.runner("a", job).head()
        assert head is not None
        assert not view.uncounted(head.counted), "nothing is thrown away"
        assert [d for p in view.graph.points.values() for d in getattr(p.record, "discarded", ())] == []
        await field.close()

    run(main(), until_s=3600)
