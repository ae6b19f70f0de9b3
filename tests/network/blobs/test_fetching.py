"""Fetching as a state machine: events go in, effects come out; no loop, no link, no clock."""

from __future__ import annotations

from bulk_world import data_of
from fetch_bench import HERE, LIMITS, A, B, Bench, C, ended, look_again_s, pull, ranges, requests, surveyed

from muster.network.blobs.chunk_messages import Ask, ChunkAnswer, Status, decode_ask, prefix
from muster.network.blobs.effects import (
    BytesCame,
    FetchEnded,
    Moment,
)
from muster.network.blobs.fetch.fetching import SMALL_BYTES
from muster.storage.store import StorageError


def test_a_hinted_neighbour_is_asked_for_chunks_and_the_others_who_has_it() -> None:
    bench, (blob, data) = Bench(), data_of(100_000)
    bench.hints[blob] = [B]
    _, effects = bench.fetch(blob, len(data), Moment(0.0, [A, B, C]))
    assert surveyed(effects) == [A, C]
    assert ranges(effects) == [(B, 0, 4096), (B, 4096, 4096)]  # nothing is known of the link: two small ones
    assert look_again_s(effects) == LIMITS.rest_max_s


def test_of_a_small_blob_only_the_hinted_neighbour_is_asked() -> None:
    bench, (blob, data) = Bench(), data_of(SMALL_BYTES)
    bench.hints[blob] = [B]
    _, effects = bench.fetch(blob, len(data), Moment(0.0, [A, B, C]))
    assert surveyed(effects) == []
    assert {node for node, _, _ in ranges(effects)} == {B}


def test_a_blob_is_pulled_and_its_waiters_learn_of_it() -> None:
    bench, (blob, data) = Bench(), data_of(50_000)
    moment = Moment(1.0, [A])
    fetch, effects = bench.fetch(blob, len(data), moment)
    seen = pull(bench, effects, data, moment)
    assert bench.store.read_blob(blob) == data
    assert sum(isinstance(effect, BytesCame) for effect in seen) == len(requests(seen))
    assert ended(seen) == [FetchEnded(fetch, held=True)]
    assert seen[-1] == ended(seen)[0]
    assert bench.fetching.table.find(blob) is None


def test_the_first_requests_name_the_blob_in_full_and_later_ones_by_8_bytes() -> None:
    bench, (blob, data) = Bench(), data_of(50_000)
    moment = Moment(0.0, [A])
    fetch, effects = bench.fetch(blob, len(data), moment)
    first = requests(effects)[0]
    message, timeout_s = bench.fetching.on_sent(fetch, first.request, 0.0)
    assert decode_ask(message) == Ask(blob, 0, 4096, len(data), True, (prefix(HERE),))
    assert timeout_s > LIMITS.hold_s  # it may be held open
    answer = ChunkAnswer(Status.WHOLE, 0.0, data[:4096])
    later = requests(bench.fetching.on_answer(fetch, first.request, answer, Moment(0.5, [A])))
    message, timeout_s = bench.fetching.on_sent(fetch, later[0].request, 0.5)
    assert decode_ask(message) == Ask(prefix(blob), 8192, 4096)
    assert later[0].overdue_s is None  # one who has it all answers at once


def test_a_range_that_did_not_come_is_asked_for_first_and_the_source_rests() -> None:
    bench, (blob, data) = Bench(), data_of(50_000)
    moment = Moment(10.0, [A])
    fetch, effects = bench.fetch(blob, len(data), moment)
    first, _ = requests(effects)
    after = bench.answer(first, Status.NO, None, moment)
    assert requests(after) == []
    assert fetch.active == ()
    assert look_again_s(after) == moment.now_s + LIMITS.rest_min_s
    again = bench.fetching.on_time(fetch, Moment(11.0, [A]))
    assert ranges(again) == []  # it had nothing when last asked, and another request is still outstanding
    bench.answer(requests(effects)[1], Status.NOT_YET, b"", Moment(11.0, [A]))
    later = bench.fetching.on_time(fetch, Moment(20.0, [A]))
    assert ranges(later) == [(A, 4096, 4096)]


def test_a_source_with_nothing_rests_for_a_growing_while_and_news_end_the_rest() -> None:
    bench, (blob, data) = Bench(), data_of(4096)
    now_s, rests = 0.0, []
    fetch, effects = bench.fetch(blob, len(data), Moment(now_s, [A]))
    for _ in range(9):
        (sent,) = requests(effects)
        after = bench.answer(sent, Status.NO, b"", Moment(now_s, [A]))
        rests.append(look_again_s(after) - now_s)
        now_s = look_again_s(after)
        effects = bench.fetching.on_time(fetch, Moment(now_s, [A]))
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    (sent,) = requests(effects)
    bench.answer(sent, Status.NO, b"", Moment(now_s, [A]))
    bench.hints[blob] = [A]
    assert ranges(bench.fetching.on_news(Moment(now_s + 1, [A]))) == [(A, 0, 4096)]


def test_a_nudge_wakes_its_sender_only() -> None:
    bench, (blob, data) = Bench(), data_of(4096)
    up = [A, B]
    fetch, effects = bench.fetch(blob, len(data), Moment(0.0, up))
    for _ in up:
        (sent,) = requests(effects)
        effects = bench.answer(sent, Status.NO, b"", Moment(0.0, up))
    assert requests(effects) == []
    woken = bench.fetching.on_nudge(B, prefix(blob), Moment(0.1, up))
    assert surveyed(woken) == [B]
    assert ranges(woken) == [(B, 0, 4096)]
    assert bench.fetching.on_nudge(B, b"nothing!", Moment(0.1, up)) == []
    assert fetch.active == (B,)


def test_a_neighbour_that_has_it_all_joins_the_others() -> None:
    bench, (blob, data) = Bench(), data_of(200_000)
    moment = Moment(0.0, [A, B])
    fetch, _ = bench.fetch(blob, len(data), moment)
    assert fetch.active == (A,)
    for node in (A, B):
        effects = bench.fetching.on_survey_answer(fetch, node, Status.WHOLE, 0.0, Moment(0.1, [A, B]))
    assert fetch.active == (A, B)
    assert {node for node, _, _ in ranges(effects)} == {B}
    assert bench.fetching.on_survey_answer(fetch, A, Status.NO, 0.0, Moment(0.1, [A, B])) == []


def test_the_last_range_is_asked_of_another_source_when_it_is_late() -> None:
    bench, (blob, data) = Bench(), data_of(8192)
    fetch, effects = bench.fetch(blob, len(data), Moment(0.0, [A, B]))
    first, second = requests(effects)
    bench.fetching.on_survey_answer(fetch, A, Status.WHOLE, 0.0, Moment(0.0, [A, B]))
    bench.fetching.on_survey_answer(fetch, B, Status.WHOLE, 0.0, Moment(0.0, [A, B]))
    after = bench.answer(first, Status.WHOLE, data[:4096], Moment(1.0, [A, B]))
    assert requests(after) == []
    late = bench.fetching.on_time(fetch, Moment(LIMITS.again_s, [A, B]))
    assert ranges(late) == [(B, 4096, 4096)]
    assert ranges(bench.fetching.on_time(fetch, Moment(2 * LIMITS.again_s - 0.1, [A, B]))) == []
    done = bench.answer(requests(late)[0], Status.WHOLE, data[4096:], Moment(7.0, [A, B]))
    assert ended(done)[0].held
    assert bench.answer(second, Status.WHOLE, data[4096:], Moment(8.0, [A, B])) == []  # too late


def test_an_overdue_request_makes_room_for_others() -> None:
    bench, (first, data) = Bench(), data_of(4096)
    other, _ = data_of(4096, 8)
    third, _ = data_of(4096, 9)
    moment = Moment(0.0, [A])
    sent = [requests(bench.fetch(blob, len(data), moment)[1]) for blob in (first, other, third)]
    assert [len(each) for each in sent] == [1, 1, 0]  # the window is two chunks
    assert sent[0][0].overdue_s is not None
    more = bench.fetching.on_overdue(sent[0][0].request, Moment(sent[0][0].overdue_s, [A]))
    assert [effect.fetch.blob for effect in requests(more)] == [third]
    assert bench.fetching.on_overdue(sent[0][0].request, Moment(9.0, [A])) == []


def test_wrong_bytes_start_again_from_one_source_and_those_that_gave_them_rest() -> None:
    bench, (blob, data) = Bench(), data_of(4096)
    moment = Moment(0.0, [A, B])
    fetch, effects = bench.fetch(blob, len(data), moment)
    effects = bench.answer(requests(effects)[0], Status.WHOLE, bytes(4096), moment)
    assert bench.fetching.wrong_blobs == 1
    assert fetch.status().wrong == 1
    assert fetch.active == (B,)
    assert ranges(effects) == [(B, 0, 4096)]
    assert ended(bench.answer(requests(effects)[0], Status.WHOLE, data, moment))[0].held


def test_a_full_disk_fails_the_fetch() -> None:
    bench, (blob, data) = Bench(), data_of(8192)
    moment = Moment(0.0, [A])
    fetch, effects = bench.fetch(blob, len(data), moment)
    bench.store.fill()
    (end,) = ended(bench.answer(requests(effects)[0], Status.WHOLE, data[:4096], moment))
    assert end.fetch is fetch
    assert not end.held
    assert isinstance(end.error, StorageError)


def test_the_last_to_leave_ends_it() -> None:
    bench, (blob, data) = Bench(), data_of(8192)
    moment = Moment(0.0, [A])
    fetch, _ = bench.fetch(blob, len(data), moment)
    bench.fetching.join(fetch, 3, moment)
    assert fetch.rank == 0
    assert bench.fetching.leave(fetch) == []
    assert bench.fetching.leave(fetch) == [FetchEnded(fetch, held=False)]
    assert bench.fetching.on_time(fetch, moment) == []
