"""Fetching as a state machine: relays for others, and whole blobs that are hashed."""

from __future__ import annotations

import pytest
from bulk_world import data_of
from fetch_bench import HERE, LIMITS, A, B, Bench, ended, ranges, requests

from muster.network.blobs.chunk_messages import Ask, ChunkAnswer, Status, decode_ask, prefix
from muster.network.blobs.effects import (
    CheckBlob,
    Effect,
    FetchEnded,
    Moment,
    SendRequest,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch, ChunkRequest
from muster.network.blobs.limits import TransferLimits
from muster.protocol.ids import BlobId, NodeId
from muster.storage.store import StorageError


def relay(bench: Bench, blob: BlobId, ask: Ask, moment: Moment) -> tuple[BlobFetch | None, list[Effect]]:
    return bench.fetching.on_wanted(blob, ask.size_bytes, ask, moment)


def test_a_relay_asks_nobody_that_waits_behind_it_and_is_given_up_when_idle() -> None:
    bench, (blob, data) = Bench(), data_of(100_000)
    bench.hints[blob] = [A, B]
    ask = Ask(blob, 40_960, 4096, len(data), True, (prefix(A),))
    fetch, effects = relay(bench, blob, ask, Moment(0.0, [A, B]))
    assert fetch is not None
    assert not fetch.own
    assert ranges(effects)[0] == (B, 40_960, 4096)  # what the asker waits for comes first
    message, _ = bench.fetching.on_sent(fetch, requests(effects)[0].request, 0.0)
    assert decode_ask(message).path == (prefix(HERE), prefix(A))
    end_s = LIMITS.relay_idle_s + 0.1
    assert ended(bench.fetching.on_time(fetch, Moment(end_s, [A, B]))) == [FetchEnded(fetch, held=False)]


def test_a_relay_that_this_node_wants_too_asks_everybody_in_its_own_name() -> None:
    bench, (blob, data) = Bench(), data_of(100_000)
    bench.hints[blob] = [B]
    fetch, effects = relay(bench, blob, Ask(blob, 0, 4096, len(data), True, (prefix(A),)), Moment(0, [A, B]))
    assert fetch is not None
    bench.answer(requests(effects)[0], Status.PARTIAL, data[:4096], Moment(0.1, [A, B]))
    bench.fetching.join(fetch, 1, Moment(0.2, [A, B]))
    assert fetch.own
    late = requests(effects)[1].request
    message, _ = bench.fetching.on_sent(fetch, late, 0.2)
    assert decode_ask(message).path == (prefix(HERE),)
    bench.fetching.on_answer(fetch, late, None, Moment(0.3, [A, B]))
    assert bench.fetching.leave(fetch) == []  # a neighbour still waits for it
    assert bench.fetching.table.goes_on(fetch)


@pytest.mark.parametrize(
    ("limits", "ask", "up"),
    [
        (TransferLimits(relay=lambda: False), Ask(bytes(32), 0, 1, 10, True), [A]),
        (TransferLimits(relays_max=0), Ask(bytes(32), 0, 1, 10, True), [A]),
        (TransferLimits(relay_bytes_max=9), Ask(bytes(32), 0, 1, 10, True), [A]),
        (LIMITS, Ask(bytes(32), 0, 1, 10, False), [A]),
        (LIMITS, Ask(bytes(32), 0, 1, 10, True, (prefix(A),)), [A]),  # nobody but the asker is there
    ],
)
def test_what_is_not_relayed(limits: TransferLimits, ask: Ask, up: list[NodeId]) -> None:
    bench = Bench(limits)
    assert relay(bench, ask.id, ask, Moment(0.0, up)) == (None, [])


def test_relays_that_nobody_has_anything_of_take_no_room_from_others() -> None:
    bench, moment = Bench(TransferLimits(disk_limit_bytes=20_000)), Moment(0.0, [A, B])
    (lost, _), (there, data) = data_of(15_000, seed=1), data_of(15_000, seed=2)
    bench.hints[lost] = bench.hints[there] = [B]
    ask = Ask(lost, 0, 4096, 15_000, True, (prefix(A),))
    first, effects = relay(bench, lost, ask, moment)
    assert first is not None
    wanted = Ask(there, 0, 4096, len(data), True, (prefix(A),))
    assert relay(bench, there, wanted, moment) == (None, []), "the first one may be on its way"
    for sent in requests(effects):
        bench.answer(sent, Status.NO, b"", moment)
    assert relay(bench, there, wanted, moment)[0] is not None


def test_another_size_than_ones_own_record_says_is_not_served() -> None:
    bench, (blob, data) = Bench(), data_of(8192)
    bench.fetch(blob, len(data), Moment(0.0, [A, B]))
    assert relay(bench, blob, Ask(blob, 0, 1, 9000, True), Moment(0.0, [A, B])) == (None, [])


def test_after_the_end_nothing_is_decided() -> None:
    bench, (blob, data) = Bench(), data_of(8192)
    fetch, _ = bench.fetch(blob, len(data), Moment(0.0, [A]))
    bench.fetching.close()
    assert bench.fetching.on_neighbour(B, False, Moment(1.0, [A])) == []
    assert bench.fetching.on_time(fetch, Moment(1.0, [A])) == []


def being_hashed(bench: Bench, moment: Moment) -> tuple[BlobFetch, bytes, ChunkRequest]:
    """A blob of which all is here, while it is hashed, and the request that brought the last of it."""
    blob, data = data_of(4096)
    fetch, effects = bench.fetch(blob, len(data), moment)
    (sent,) = requests(effects)
    bench.fetching.on_sent(fetch, sent.request, moment.now_s)
    answer = ChunkAnswer(Status.WHOLE, 0.0, data)
    after = bench.fetching.on_answer(fetch, sent.request, answer, moment)
    assert [effect for effect in after if isinstance(effect, CheckBlob)] == [CheckBlob(fetch)]
    assert ended(after) == []
    return fetch, data, sent.request


def test_nothing_is_asked_while_a_whole_blob_is_hashed_and_it_is_hashed_once() -> None:
    bench, moment = Bench(), Moment(0.0, [A, B])
    fetch, data, _ = being_hashed(bench, moment)
    later = Moment(LIMITS.again_s + 1, [A, B])
    assert requests(bench.fetching.on_time(fetch, later)) == []
    joined = bench.fetching.join(fetch, 0, later)
    assert not any(isinstance(effect, CheckBlob | SendRequest) for effect in joined)
    assert not bench.store.has_blob(fetch.blob)
    assert ended(bench.fetching.on_checked(fetch, True, later)) == [FetchEnded(fetch, held=True)]
    assert bench.store.read_blob(fetch.blob) == data


def test_a_fetch_that_was_given_up_while_it_was_hashed_keeps_nothing() -> None:
    bench, moment = Bench(), Moment(0.0, [A])
    fetch, data, _ = being_hashed(bench, moment)
    assert not ended(bench.fetching.leave(fetch))[0].held
    assert bench.fetching.on_checked(fetch, True, moment) == []
    assert not bench.store.has_blob(fetch.blob)
    assert bench.fetch(fetch.blob, len(data), moment)  # what came is still there, and is hashed again
    assert bench.store.read_blob(fetch.blob) == data


def test_a_blob_that_came_by_other_means_while_it_was_hashed_is_held() -> None:
    bench, moment = Bench(), Moment(0.0, [A])
    fetch, data, _ = being_hashed(bench, moment)
    bench.store.put_blob(data)
    assert ended(bench.fetching.on_checked(fetch, False, moment))[0].held
    assert bench.fetching.wrong_blobs == 0


def test_a_disk_that_fails_while_a_blob_is_hashed_fails_the_fetch() -> None:
    bench, moment = Bench(), Moment(0.0, [A])
    fetch, _, _ = being_hashed(bench, moment)
    fault = StorageError("the disk fails")
    assert ended(bench.fetching.on_checked(fetch, fault, moment)) == [FetchEnded(fetch, False, fault)]
