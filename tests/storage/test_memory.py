"""The faults of the store in memory."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from muster.storage.memory import MemoryStore
from muster.storage.memory_blobs import SYNC_BYTES
from muster.storage.store import StorageError

BLOB = hashlib.sha256(bytes(10 * SYNC_BYTES)).digest()


class Coin(random.Random):
    def __init__(self, value: float) -> None:
        super().__init__(0)
        self.value = value

    def random(self) -> float:
        return self.value


def test_a_crash_undoes_an_open_transaction() -> None:
    store = MemoryStore(random.Random(1))
    store.set_state("k", b"old")
    transaction = store.transaction()
    transaction.__enter__()
    store.set_state("k", b"new")
    store.add(BLOB, "job", b"", b"", b"")
    store.crash(random.Random(1))
    assert store.state("k") == b"old"
    assert store.get(BLOB) is None


@pytest.mark.parametrize(("coin", "held"), [(0.0, SYNC_BYTES), (0.9, SYNC_BYTES + 8192)])
def test_a_crash_may_cost_the_newest_cells(coin: float, held: int) -> None:
    store = MemoryStore(random.Random(1))
    partial = store.partial(BLOB, 10 * SYNC_BYTES)
    for offset in range(0, SYNC_BYTES + 8192, 4096):
        partial.write(offset, bytes(4096))
    store.crash(Coin(coin))
    again = store.partial(BLOB, 10 * SYNC_BYTES)
    assert again is not partial
    assert again.missing() == [(held, 10 * SYNC_BYTES - held)]
    again.write(held, bytes(10 * SYNC_BYTES - held))
    assert again.finish()


def test_a_full_disk() -> None:
    store = MemoryStore(random.Random(1))
    store.set_state("k", b"old")
    partial = store.partial(BLOB, 5000)
    kept = store.put_blob(b"kept")
    store.fill()
    for write in (
        lambda: store.set_state("k", b"new"),
        lambda: store.add(BLOB, "job", b"", b"", b""),
        lambda: store.put_blob(b"more"),
        lambda: partial.write(0, bytes(4096)),
        lambda: store.partial(bytes(32), 5000),
    ):
        with pytest.raises(StorageError):
            write()
    assert store.put_blob(b"kept") == kept
    assert store.state("k") == b"old"
    assert store.last_sequence() == 0
    store.delete_blob(kept)
    store.free()
    store.set_state("k", b"new")
    assert store.state("k") == b"new"


def test_a_lost_disk_is_a_new_life() -> None:
    rng = random.Random(1)
    store = MemoryStore(rng)
    before = store.incarnation
    store.set_state("k", b"v")
    store.put_blob(b"blob")
    store.lose(rng)
    assert store.incarnation != before
    assert store.state("k") is None
    assert list(store.blobs()) == []
    assert store.used_bytes() == 0


def test_there_are_no_files() -> None:
    with pytest.raises(StorageError):
        MemoryStore(random.Random(1)).blob_path(bytes(32))
    assert not Path(BLOB.hex()).exists()
