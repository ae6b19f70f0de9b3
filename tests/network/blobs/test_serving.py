"""Serving as a state machine: what a request is answered, when it is held open, who is nudged later."""

from __future__ import annotations

import random

from bulk_world import data_of, ident

from muster.network.blobs.chunk_messages import (
    ANSWER_BYTES_MAX,
    Ask,
    ChunkAnswer,
    KnownBlobs,
    Status,
    decode_answer,
    prefix,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch
from muster.network.blobs.limits import TransferLimits
from muster.network.blobs.serving import Serving, Wanted
from muster.storage.memory import MemoryStore

A, B = ident("a"), ident("b")
LIMITS = TransferLimits(held_asks_neighbour_max=2, held_asks_max=3)


class Bench:
    def __init__(self) -> None:
        self.store = MemoryStore(random.Random(1))
        self.serving = Serving(self.store, LIMITS, KnownBlobs(10))

    def at_once(self, ask: Ask, *arriving: bytes) -> ChunkAnswer:
        answer = self.serving.on_ask(ask, arriving)
        assert isinstance(answer, bytes)
        return decode_answer(answer)


def test_what_is_held_is_answered_at_once_in_full_or_by_8_bytes() -> None:
    bench, (blob, data) = Bench(), data_of(100_000)
    bench.store.put_blob(data)
    assert bench.at_once(Ask(prefix(blob), 0, 10)).status is Status.UNKNOWN
    full = Ask(blob, 4096, 10, len(data))
    assert bench.at_once(full) == ChunkAnswer(Status.WHOLE, 0.0, data[4096:4106])
    assert bench.at_once(Ask(prefix(blob), 99_990, 100)).data == data[99_990:]
    assert bench.at_once(Ask(prefix(blob), 0, 90_000)).data == data[:ANSWER_BYTES_MAX]
    assert bench.at_once(Ask(prefix(blob), 0, 0)) == ChunkAnswer(Status.WHOLE, 0.0, b"")
    assert bench.at_once(Ask(prefix(blob), 100_001, 1)).status is Status.NO
    assert bench.at_once(Ask(blob, 0, 1, 5)).status is Status.NO  # of another size


def test_what_is_not_held() -> None:
    bench, (blob, data) = Bench(), data_of(100)
    assert bench.at_once(Ask(blob, 0, 0, len(data))).status is Status.NO
    assert bench.at_once(Ask(blob, 0, 0, len(data)), blob).status is Status.PARTIAL
    assert bench.at_once(Ask(prefix(blob), 0, 1)).status is Status.UNKNOWN  # asked in full, it may be relayed
    assert bench.serving.on_ask(Ask(blob, 0, 1, len(data)), ()) == Wanted(blob, len(data))
    assert bench.serving.on_ask(Ask(prefix(blob), 0, 1), (blob,)) == Wanted(blob, len(data))


def arriving(bench: Bench, size_bytes: int) -> tuple[BlobFetch, bytes]:
    blob, data = data_of(size_bytes)
    return BlobFetch(blob, size_bytes, 0, 0, bench.store.partial(blob, size_bytes), LIMITS), data


def test_arriving_bytes_are_handed_on_as_far_as_they_are_held() -> None:
    bench = Bench()
    fetch, data = arriving(bench, 20_000)
    ask = Ask(fetch.blob, 0, 12_288, fetch.size_bytes)
    assert bench.serving.answer(A, fetch, ask, 1.0, 1.0, goes_on=True) is None
    fetch.keep(0, data[:8192], B, 2.0)
    answer = bench.serving.answer(A, fetch, ask, 1.0, 2.5, goes_on=True)
    assert answer is not None
    assert decode_answer(answer) == ChunkAnswer(Status.PARTIAL, 1.5, data[:8192])
    bench.store.put_blob(data)
    answer = bench.serving.answer(A, fetch, ask, 1.0, 3.0, goes_on=False)
    assert answer is not None
    assert decode_answer(answer) == ChunkAnswer(Status.WHOLE, 2.0, data[:12_288])


def test_a_request_is_held_open_for_a_while_and_its_asker_nudged_later() -> None:
    bench = Bench()
    fetch, _ = arriving(bench, 20_000)
    ask = Ask(fetch.blob, 0, 4096, fetch.size_bytes)
    until_s = bench.serving.until_s(1.0)
    assert bench.serving.answer(A, fetch, ask, 1.0, until_s - 0.1, goes_on=True) is None
    answer = bench.serving.answer(A, fetch, ask, 1.0, until_s, goes_on=True)
    assert answer is not None
    assert decode_answer(answer).status is Status.NOT_YET
    assert list(bench.serving.take_waiting_peers(fetch)) == [A]
    assert bench.serving.take_waiting_peers(fetch) == {}


def test_the_askers_of_a_transfer_that_is_over_are_forgotten() -> None:
    bench = Bench()
    fetch, _ = arriving(bench, 20_000)
    ask = Ask(fetch.blob, 0, 4096, fetch.size_bytes)
    assert bench.serving.answer(A, fetch, ask, 1.0, 1.0, goes_on=False) is not None
    assert bench.serving.take_waiting_peers(fetch) == {}


def test_only_so_many_requests_are_held_open() -> None:
    bench = Bench()
    fetch, _ = arriving(bench, 20_000)
    ask = Ask(fetch.blob, 0, 4096, fetch.size_bytes)

    def held_open(asker: bytes) -> bool:
        return bench.serving.answer(asker, fetch, ask, 1.0, 1.0, goes_on=True) is None

    for _ in range(LIMITS.held_asks_neighbour_max):
        assert held_open(A)
        bench.serving.hold_open(A)
    assert not held_open(A)
    assert held_open(B)
    bench.serving.hold_open(B)
    assert not held_open(B)  # so many of all together
    bench.serving.release(A)
    assert held_open(A)
    assert held_open(B)
