"""What every store keeps to; runs against the disk and the memory store."""

from __future__ import annotations

import contextlib
import hashlib
import random
from pathlib import Path

import pytest

from muster.storage.store import StorageError, Store

A, B, C = (hashlib.sha256(word).digest() for word in (b"a", b"b", b"c"))
JOB, OTHER = bytes(32), bytes([1]) * 32


def test_records_are_kept_once_and_numbered(store: Store) -> None:
    assert store.last_sequence() == 0
    assert store.add(A, "job", b"", b"wire-a", b"") == 1
    assert store.add(B, "offer", JOB, b"wire-b", C) == 2
    assert store.add(A, "job", b"", b"wire-a", C) is None
    assert store.last_sequence() == 2
    record = store.get(B)
    assert record is not None
    assert (record.sequence, record.id, record.kind, record.job) == (2, B, "offer", JOB)
    assert (record.wire, record.source) == (b"wire-b", C)
    assert store.get(C) is None


def test_since_is_a_cursor(store: Store) -> None:
    with store.transaction():
        for number in range(10):
            store.add(bytes([number]) * 32, "job", b"", bytes([number]), b"")
    assert [record.sequence for record in store.since(3, 4)] == [4, 5, 6, 7]
    assert [record.wire for record in store.since(8, 100)] == [bytes([8]), bytes([9])]
    assert store.since(10, 5) == []


def test_select_by_kind_and_job(store: Store) -> None:
    store.add(A, "offer", JOB, b"1", b"")
    store.add(B, "offer", OTHER, b"2", b"")
    store.add(C, "plan", JOB, b"3", b"")
    assert [record.id for record in store.select("offer")] == [A, B]
    assert [record.id for record in store.select("offer", OTHER)] == [B]
    assert store.select("commit") == []


def test_a_record_gets_another_kind(store: Store) -> None:
    for number, record_id in enumerate((A, B, C)):
        store.add(record_id, "unknown", b"", bytes([number]), b"")
    store.rename(B, "offer", JOB)
    assert [record.id for record in store.select("unknown")] == [A, C]
    assert [(r.sequence, r.id, r.wire) for r in store.select("offer", JOB)] == [(2, B, b"\1")]
    with contextlib.suppress(ValueError), store.transaction():
        store.rename(B, "plan", OTHER)
        raise ValueError
    assert [record.id for record in store.select("offer", JOB)] == [B]


@pytest.mark.parametrize("length", [1, 4, 8, 31, 32])
def test_find_by_prefix(store: Store, length: int) -> None:
    near = A[:8] + bytes(24)
    store.add(A, "job", b"", b"", b"")
    store.add(near, "job", b"", b"", b"")
    store.add(B, "job", b"", b"", b"")
    assert store.find(A[:length]) == (sorted([A, near]) if length <= 8 else [A])
    assert store.find(b"\xff" * length) == []


def test_find_at_the_end_of_the_range(store: Store) -> None:
    last = b"\xff" * 32
    store.add(last, "job", b"", b"", b"")
    assert store.find(b"\xff\xff") == [last]


def test_state(store: Store) -> None:
    assert store.state("k") is None
    store.set_state("k", b"1")
    store.set_state("k", b"2")
    assert store.state("k") == b"2"
    store.set_state("k", None)
    assert store.state("k") is None


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    store.add(A, "job", b"", b"", b"")
    store.set_state("k", b"old")
    kept = store.put_blob(b"kept")

    def fail() -> None:
        with store.transaction():
            assert store.add(B, "offer", JOB, b"", b"") == 2
            store.set_state("k", b"new")
            store.set_state("n", b"new")
            assert store.has_blob(store.put_blob(b"data"))
            store.delete_blob(kept)
            assert store.has_blob(kept)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert store.get(B) is None
    assert (store.state("k"), store.state("n")) == (b"old", None)
    assert list(store.blobs()) == [(kept, 4)]
    assert store.select("offer") == []
    assert store.select("offer", JOB) == []
    assert store.find(B[:8]) == []
    assert store.add(C, "job", b"", b"", b"") == 2


def test_an_inner_transaction_joins_the_outer(store: Store) -> None:
    with store.transaction():
        store.set_state("outer", b"1")
        with store.transaction():
            store.set_state("inner", b"1")
    assert (store.state("outer"), store.state("inner")) == (b"1", b"1")


def test_a_swallowed_inner_failure_undoes_all(store: Store) -> None:
    def swallow() -> None:
        with store.transaction():
            store.set_state("outer", b"1")
            with pytest.raises(KeyError), store.transaction():
                raise KeyError

    with pytest.raises(StorageError):
        swallow()
    assert store.state("outer") is None
    store.set_state("outer", b"2")
    assert store.state("outer") == b"2"


def test_deleting_in_a_transaction_takes_effect_at_its_end(store: Store) -> None:
    blob, again = store.put_blob(b"x"), store.put_blob(b"y")
    with store.transaction():
        store.delete_blob(blob)
        store.delete_blob(again)
        store.put_blob(b"y")
    assert not store.has_blob(blob)
    assert store.has_blob(again)


def test_blobs(store: Store) -> None:
    blob = store.put_blob(b"0123456789")
    assert blob == hashlib.sha256(b"0123456789").digest()
    assert store.put_blob(b"0123456789") == blob
    assert (store.has_blob(blob), store.has_blob(A)) == (True, False)
    assert (store.blob_size(blob), store.blob_size(A)) == (10, None)
    assert store.read_blob(blob) == b"0123456789"
    assert store.read_blob(blob, 8) == b"89"
    assert store.read_blob(blob, 2, 3) == b"234"
    empty = store.put_blob(b"")
    assert store.read_blob(empty) == b""
    assert dict(store.blobs()) == {blob: 10, empty: 0}
    store.delete_blob(blob)
    store.delete_blob(blob)
    assert not store.has_blob(blob)


def test_reading_what_is_not_there(store: Store) -> None:
    blob = store.put_blob(b"0123456789")
    with pytest.raises(KeyError):
        store.read_blob(A)
    for offset, length in ((5, 6), (11, 0), (-1, 2), (11, None)):
        with pytest.raises(ValueError, match="outside"):
            store.read_blob(blob, offset, length)


def test_adopting_a_file(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        path = tmp_path / "made"
        path.write_bytes(b"model")
        blob = store.adopt_blob(path)
        assert store.read_blob(blob) == b"model"
        assert not path.exists()


def test_used_bytes_follows_blobs(store: Store) -> None:
    before = store.used_bytes()
    blob = store.put_blob(bytes(100_000))
    assert store.used_bytes() == before + 100_000
    store.delete_blob(blob)
    assert store.used_bytes() == before


def test_a_partial_blob_fills_up(store: Store) -> None:
    data = random.Random(2).randbytes(4096 * 3 + 100)
    blob = hashlib.sha256(data).digest()
    partial = store.partial(blob, len(data))
    assert partial.missing() == [(0, len(data))]
    partial.write(4096, data[4096:8192])
    assert partial.missing() == [(0, 4096), (8192, 4196)]
    assert partial.has(4096, 4096)
    assert partial.has(5000, 100)
    assert not partial.has(4095, 2)
    assert not partial.has(len(data) - 1, 2)
    assert partial.read(5000, 10) == data[5000:5010]
    with pytest.raises(ValueError, match="not held"):
        partial.read(0, 10)
    with pytest.raises(ValueError, match="not complete"):
        partial.finish()
    partial.write(0, data[:4000])  # not a whole cell: does not count
    assert not partial.has(0, 10)
    partial.write(0, data[:4096])
    partial.write(8192, data[8192:])
    assert partial.missing() == []
    assert not store.has_blob(blob)
    assert partial.finish()
    assert store.read_blob(blob) == data


def test_writing_outside_a_partial_blob(store: Store) -> None:
    partial = store.partial(A, 5000)
    for offset, size_bytes in ((0, 5001), (-1, 10), (8192, 1)):
        with pytest.raises(ValueError, match="outside"):
            partial.write(offset, bytes(size_bytes))


def test_a_wrong_hash_forgets_everything(store: Store) -> None:
    partial = store.partial(A, 5000)
    partial.write(0, bytes(5000))
    assert not partial.finish()
    assert not store.has_blob(A)
    assert store.partial(A, 5000).missing() == [(0, 5000)]


def test_partial_blobs_are_shared_and_can_be_given_up(store: Store) -> None:
    partial = store.partial(A, 9000)
    partial.write(0, bytes(4096))
    assert store.partial(A, 9000) is partial
    assert store.partial(A, 9001).missing() == [(0, 9001)]
    store.delete_blob(A)
    assert store.partial(A, 9000).missing() == [(0, 9000)]


def test_an_empty_blob_can_be_fetched(store: Store) -> None:
    partial = store.partial(hashlib.sha256(b"").digest(), 0)
    assert partial.missing() == []
    assert partial.finish()


def test_a_blob_made_by_other_means_ends_its_partial(store: Store) -> None:
    data = bytes(5000)
    blob = hashlib.sha256(data).digest()
    partial = store.partial(blob, 5000)
    partial.write(0, data)
    assert store.put_blob(data) == blob
    assert dict(store.blobs()) == {blob: 5000}
    used_bytes = store.used_bytes()
    assert store.partial(blob, 5000).missing() == [(0, 5000)]
    store.delete_blob(blob)
    assert store.used_bytes() == used_bytes - 5000


def test_a_removed_record_is_gone_and_its_number_is_not_given_again(store: Store) -> None:
    for record_id in (A, B):
        store.add(record_id, "need", b"", b"wire", b"")
    store.remove([A, C])
    assert store.get(A) is None
    assert (store.find(A), [record.id for record in store.select("need", b"")]) == ([], [B])
    assert [record.id for record in store.since(0, 9)] == [B]
    assert store.last_sequence() == 2
    assert store.add(A, "need", b"", b"again", b"") == 3
    assert [record.sequence for record in store.since(0, 9)] == [2, 3]


def test_a_removal_is_undone_with_its_transaction(store: Store) -> None:
    for record_id in (A, B):
        store.add(record_id, "need", JOB, b"wire", b"")

    def fails() -> None:
        with store.transaction():
            store.add(C, "need", JOB, b"new", b"")
            store.remove([A])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert [record.id for record in store.since(0, 9)] == [A, B]
    assert [record.id for record in store.select("need", JOB)] == [A, B]
    assert store.get(A) is not None
    assert store.add(C, "need", JOB, b"new", b"") == 3
