"""What only the disk store has: the lock, kill -9, a full disk."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from file_limit import file_limit
from muster.errors import MusterError
from muster.storage import database
from muster.storage import partial as partial_module
from muster.storage.database import COPY_COMMITS, LOG_ROOM_BYTES
from muster.storage.disk import DiskStore
from muster.storage.store import StorageError

DATA = random.Random(3).randbytes(4096 * 200)
BLOB = hashlib.sha256(DATA).digest()


@contextmanager
def opened(home: Path) -> Iterator[DiskStore]:
    store = DiskStore(home)
    try:
        yield store
    finally:
        store.close()


def test_everything_is_there_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        incarnation = store.incarnation
        store.add(b"\1" * 32, "job", b"", b"wire", b"")
        store.set_state("k", b"v")
        store.put_blob(b"blob")
        partial = store.partial(BLOB, len(DATA))
        partial.write(8192, DATA[8192:12288])
    with opened(tmp_path) as store:
        assert store.incarnation == incarnation
        assert store.last_sequence() == 1
        assert store.state("k") == b"v"
        assert [size_bytes for _, size_bytes in store.blobs()] == [4]
        again = store.partial(BLOB, len(DATA))
        assert again.missing() == [(0, 8192), (12288, len(DATA) - 12288)]
        assert again.read(8192, 4096) == DATA[8192:12288]


def test_two_homes_are_two_lives(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as two:
        assert one.incarnation != two.incarnation
        assert 0 <= one.incarnation < 2**31


def test_one_daemon_a_home(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(MusterError, match=f"process {os.getpid()}") as caught:
        DiskStore(tmp_path)
    assert caught.value.code == "home"
    DiskStore(tmp_path).close()


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MusterError) as caught:
        DiskStore(tmp_path / "file" / "home")
    assert caught.value.code == "home"


def test_a_store_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "store.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(MusterError) as caught:
        DiskStore(tmp_path)
    assert caught.value.code == "home"


def test_leftovers_are_cleaned(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.partial(BLOB, len(DATA))
    (tmp_path / "tmp" / "x.put").write_bytes(b"half")
    (tmp_path / "partial" / "aa.data").write_bytes(b"no map")
    (tmp_path / "partial" / "bb.map").write_bytes(b"no data")
    (tmp_path / "partial" / "cc.new").write_bytes(b"half a map")
    with opened(tmp_path):
        assert list((tmp_path / "tmp").iterdir()) == []
        names = sorted(entry.name for entry in (tmp_path / "partial").iterdir())
        assert names == [f"{BLOB.hex()}.data", f"{BLOB.hex()}.map"]


def test_a_damaged_map_is_not_believed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.partial(BLOB, len(DATA)).write(0, DATA)
    path = tmp_path / "partial" / f"{BLOB.hex()}.map"
    path.write_bytes(path.read_bytes()[:-1])
    with opened(tmp_path) as store:
        assert store.partial(BLOB, len(DATA)).missing() == [(0, len(DATA))]


def test_after_a_power_cut_only_synced_cells_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as store:
        partial = store.partial(BLOB, len(DATA))
        for offset in range(0, 70 * 4096, 4096):
            partial.write(offset, DATA[offset : offset + 4096])
    with opened(tmp_path) as store:  # the same kernel: all of it
        assert store.partial(BLOB, len(DATA)).missing()[0][0] == 70 * 4096
    monkeypatch.setattr(partial_module, "boot_id", lambda: b"another start".ljust(36))
    for _ in range(2):
        with opened(tmp_path) as store:
            assert store.partial(BLOB, len(DATA)).missing()[0][0] == partial_module.SYNC_BYTES


def test_a_full_database_leaves_nothing_half_written(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.set_state("k", b"old")
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count={pages + 2}")

        def write_much() -> None:
            with store.transaction():
                store.set_state("k", b"new")
                for number in range(2000):  # more than is free in the file, too
                    store.add(number.to_bytes(32, "big"), "job", b"", bytes(1000), b"")

        with pytest.raises(StorageError, match="full"):
            write_much()
        assert store.state("k") == b"old"
        assert store.last_sequence() == 0
        store._db.execute("PRAGMA max_page_count=1000000")
        with store.transaction():
            store.set_state("k", b"new")
        assert store.state("k") == b"new"


def test_the_log_is_copied_by_the_other_thread(tmp_path: Path) -> None:
    chores: list[Callable[[], object]] = []
    store = DiskStore(tmp_path, chores.append)
    for number in range(COPY_COMMITS):
        store.set_state("k", str(number).encode())
    (copy,) = chores
    before = (tmp_path / "store.sqlite").read_bytes()
    copy()
    assert (tmp_path / "store.sqlite").read_bytes() != before
    store.note_state("k", b"noted")
    assert store.state("k") == b"noted"
    assert store._db.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL again
    store.close()


def test_a_blob_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with file_limit(100_000), pytest.raises(StorageError):
            store.put_blob(DATA)
        assert not store.has_blob(BLOB)
        assert list((tmp_path / "tmp").iterdir()) == []
        with file_limit(100_000), pytest.raises(StorageError):
            store.partial(BLOB, len(DATA))
        assert list((tmp_path / "partial").iterdir()) == []
        partial = store.partial(BLOB, len(DATA))
        with file_limit(100_000), pytest.raises(StorageError):
            partial.write(4096 * 24, DATA[4096 * 24 : 4096 * 30])
        assert partial.missing() == [(0, len(DATA))]
        assert store.put_blob(DATA) == BLOB


def test_a_full_disk_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="is full: free some space"):
            store.put_blob(b"blob")
        monkeypatch.undo()
        assert list(store.blobs()) == []


def test_memory_does_not_grow_with_records(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert not any(isinstance(value, dict) for value in vars(store).values())


@pytest.mark.e2e
def test_kill_9_loses_nothing_that_returned(tmp_path: Path) -> None:
    """A child prints after each call; killed, everything that it printed is there."""
    script = """
import hashlib, random, sys
from pathlib import Path
from muster.storage.database import COPY_COMMITS, LOG_ROOM_BYTES
from muster.storage.disk import DiskStore
store = DiskStore(Path(sys.argv[1]))
data = random.Random(3).randbytes(4096 * 200)
partial = store.partial(hashlib.sha256(data).digest(), len(data))
for number in range(200):
    with store.transaction():
        store.add(number.to_bytes(32, "big"), "job", b"", b"w", b"")
        store.set_state("n", str(number).encode())
    partial.write(number * 4096, data[number * 4096 : (number + 1) * 4096])
    print(number, flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = -1
    for line in child.stdout:
        said = int(line)
        if said == 60:
            child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    with opened(tmp_path) as store:
        count = store.last_sequence()
        assert count in (said + 1, said + 2)
        assert store.state("n") == str(count - 1).encode()
        start = store.partial(BLOB, len(DATA)).missing()[0][0]
        assert start >= (said + 1) * 4096
        assert store.partial(BLOB, len(DATA)).read(0, start) == DATA[:start]


def test_the_log_does_not_grow_any_more(tmp_path: Path) -> None:
    """A growing file makes each sync wait for the file system's journal, and with it for others' data."""
    log = tmp_path / "store.sqlite-wal"
    with opened(tmp_path) as store:
        before = log.stat().st_size
        for number in range(8 * COPY_COMMITS):
            store.add(number.to_bytes(32, "big"), "job", b"", bytes(300), b"")
        assert before == log.stat().st_size > LOG_ROOM_BYTES


@pytest.mark.parametrize(
    ("version", "then"),
    [(1, "move this directory away, and the node begins with an empty one"), (99, "update muster")],
)
def test_a_store_of_another_format_is_named(tmp_path: Path, version: int, then: str) -> None:
    with opened(tmp_path):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "store.sqlite")) as db:
        db.execute(f"PRAGMA user_version={version}")
    with pytest.raises(MusterError) as caught:
        DiskStore(tmp_path)
    assert caught.value.code == "home"
    said = f"the store in {tmp_path} has format {version}, this node reads {database.FORMAT}: {then}"
    assert str(caught.value) == said
