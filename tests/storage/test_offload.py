from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from muster.storage import files as files_module
from muster.storage import partial as partial_module
from muster.storage.disk import DiskStore
from muster.storage.files import LARGE_BYTES
from muster.storage.offload import Threads, to_its_end
from muster.storage.store import StorageError

DATA = bytes(range(256)) * 2048  # half a megabyte


def left_in(folder: Path) -> list[Path]:
    return [*(folder / "tmp").iterdir(), *(folder / "staged").iterdir()]


def test_heavy_calls_run_beside_the_loop() -> None:
    async def main() -> None:
        threads = Threads(1)
        seen = await threads(threading.get_ident)
        threads.close()
        assert seen != threading.get_ident()

    asyncio.run(main())


def test_work_comes_to_its_end_although_nobody_waits_any_more() -> None:
    done: list[str] = []

    async def main() -> None:
        go = asyncio.Event()

        async def work() -> None:
            await go.wait()
            done.append("written")

        waiting = asyncio.create_task(to_its_end(work()))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert not waiting.done()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert done == ["written"]


def test_what_was_staged_is_no_blob_and_goes_when_it_is_forgotten(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    staged = store.stage((DATA[:1000], memoryview(DATA)[1000:], b""))
    assert staged.size_bytes == len(DATA)
    assert not store.has_blob(staged.blob)
    assert len(left_in(tmp_path)) == 1
    del staged
    assert left_in(tmp_path) == []
    kept = store.put_staged(store.stage((DATA,)))
    assert store.read_blob(kept) == DATA
    assert left_in(tmp_path) == []
    store.close()


def test_what_was_staged_goes_with_a_killed_process_and_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rename that makes it a blob is not synced: a power cut may undo it when its record is kept."""
    store = DiskStore(tmp_path)
    staged = store.stage((DATA,))
    blob, name = staged.blob, staged.path
    for boot in ("the same", "another"):
        copy = tmp_path / boot
        (copy / "staged").mkdir(parents=True)
        (copy / "staged" / name.name).write_bytes(DATA)
    DiskStore(tmp_path / "the same").close()
    assert left_in(tmp_path / "the same") == []
    monkeypatch.setattr(files_module, "boot_id", lambda: b"another start".ljust(36))
    after = DiskStore(tmp_path / "another")
    assert after.read_blob(blob) == DATA
    assert left_in(tmp_path / "another") == []
    after.close()
    store.close()


def test_making_a_staged_file_a_blob_syncs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DiskStore(tmp_path)
    staged = store.stage((DATA,))
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    store.put_staged(staged)
    assert syncs == []
    store.close()


def test_staging_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)

    def broken() -> Callable[[], bytes]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.stage(broken() for _ in range(2))  # type: ignore[misc]
    assert left_in(tmp_path) == []
    store.close()


def test_what_was_staged_goes_with_a_transaction_that_fails(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    staged = store.stage((DATA,))

    def fail() -> None:
        with store.transaction():
            store.put_staged(staged)
            raise StorageError("the disk is full")

    with pytest.raises(StorageError):
        fail()
    assert not store.has_blob(staged.blob)
    store.close()


def test_a_large_blob_is_gone_at_once_and_deleted_later(tmp_path: Path) -> None:
    chores: list[Callable[[], object]] = []
    store = DiskStore(tmp_path, chores.append)
    blob = store.put_blob(bytes(LARGE_BYTES))
    before = store.used_bytes()
    store.delete_blob(blob)
    assert not store.has_blob(blob)
    assert store.used_bytes() <= before - LARGE_BYTES
    assert len(left_in(tmp_path)) == 1
    for chore in chores:
        chore()
    assert left_in(tmp_path) == []
    store.close()


def test_a_sync_of_a_partial_blob_comes_later_and_touches_no_other_ones_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chores: list[Callable[[], object]] = []
    store = DiskStore(tmp_path, chores.append)
    blob = b"\x07" * 32
    one = store.partial(blob, len(DATA))
    one.write(0, DATA[:-4096])
    assert len(chores) == 1
    store.delete_blob(blob)  # before the sync has its turn
    other = store.partial(blob, len(DATA))
    for chore in chores:
        chore()
    assert other is not one
    store.close()
    monkeypatch.setattr(partial_module, "boot_id", lambda: b"another start".ljust(36))
    store = DiskStore(tmp_path)
    assert store.partial(blob, len(DATA)).missing() == [(0, len(DATA))]
    store.close()


def test_a_sync_that_failed_is_raised_by_the_next_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chores: list[Callable[[], object]] = []
    store = DiskStore(tmp_path, chores.append)
    partial = store.partial(b"\x08" * 32, len(DATA))
    partial.write(0, DATA[:-4096])

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(partial_module.os, "fdatasync", broken)
    chores[0]()
    monkeypatch.undo()
    with pytest.raises(StorageError):
        partial.write(len(DATA) - 4096, DATA[-4096:])
    partial.write(len(DATA) - 4096, DATA[-4096:])
    assert partial.missing() == []
    store.close()
