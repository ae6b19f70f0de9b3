"""Fetching as a state machine: events go in, effects come out; no loop, no link, no clock."""

from __future__ import annotations

import random

import pytest
from bulk_world import data_of, ident

from muster.network.blobs.chunk_messages import Ask, ChunkAnswer, KnownBlobs, Status, decode_ask, prefix
from muster.network.blobs.effects import (
    BytesCame,
    CheckBlob,
    Effect,
    FetchEnded,
    LookAgain,
    Moment,
    SendRequest,
    SendSurvey,
)
from muster.network.blobs.fetch.blob_fetch import BlobFetch, ChunkRequest
from muster.network.blobs.fetch.fetching import SMALL_BYTES, Fetching
from muster.network.blobs.limits import TransferLimits
from muster.protocol.records import BlobId, NodeId
from muster.storage.memory import MemoryStore
from muster.storage.store import StorageError

A, B, C, HERE = (ident(name) for name in "abch")
LIMITS = TransferLimits()


class Bench:
    """One node's fetching; `hints` and `store` are what it goes by."""

    def __init__(self, limits: TransferLimits = LIMITS) -> None:
        self.store = MemoryStore(random.Random(1))
        self.hints: dict[BlobId, list[NodeId]] = {}
        self.known = KnownBlobs(10)
        self.fetching = Fetching(HERE, self.store, lambda blob: self.hints.get(blob, []), limits, self.known)

    def fetch(self, blob: BlobId, size_bytes: int, moment: Moment) -> tuple[BlobFetch, list[Effect]]:
        fetch, effects = self.fetching.begin(blob, size_bytes, 0, moment)
        return fetch, self.checked(effects + self.fetching.join(fetch, 0, moment), moment)

    def answer(self, sent: SendRequest, status: Status, data: bytes | None, moment: Moment) -> list[Effect]:
        """The request went out at the moment's time, and the answer is there at once."""
        self.fetching.on_sent(sent.fetch, sent.request, moment.now_s)
        answer = None if data is None else ChunkAnswer(status, 0.0, data)
        return self.checked(self.fetching.on_answer(sent.fetch, sent.request, answer, moment), moment)

    def checked(self, effects: list[Effect], moment: Moment) -> list[Effect]:
        """The effects, with each hashing of a whole blob done at once."""
        done: list[Effect] = []
        for effect in effects:
            if isinstance(effect, CheckBlob):
                fetch = effect.fetch
                done += self.fetching.on_checked(fetch, fetch.partial.check(), moment)
            else:
                done.append(effect)
        return done


def requests(effects: list[Effect]) -> list[SendRequest]:
    return [effect for effect in effects if isinstance(effect, SendRequest)]


def ranges(effects: list[Effect]) -> list[tuple[NodeId, int, int]]:
    return [(e.request.node, e.request.offset, e.request.length) for e in requests(effects)]


def surveyed(effects: list[Effect]) -> list[NodeId]:
    return [effect.node for effect in effects if isinstance(effect, SendSurvey)]


def ended(effects: list[Effect]) -> list[FetchEnded]:
    return [effect for effect in effects if isinstance(effect, FetchEnded)]


def look_again_s(effects: list[Effect]) -> float:
    return [effect.at_s for effect in effects if isinstance(effect, LookAgain)][-1]


def pull(bench: Bench, effects: list[Effect], data: bytes, moment: Moment) -> list[Effect]:
    """Answer all requests with the right bytes until none is left."""
    seen = list(effects)
    waiting = requests(effects)
    while waiting:
        sent = waiting.pop(0)
        asked: ChunkRequest = sent.request
        piece = data[asked.offset : asked.offset + asked.length]
        more = bench.answer(sent, Status.WHOLE, piece, moment)
        seen += more
        waiting += requests(more)
    return seen


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
        (TransferLimits(relay=False), Ask(bytes(32), 0, 1, 10, True), [A]),
        (TransferLimits(relays_max=0), Ask(bytes(32), 0, 1, 10, True), [A]),
        (TransferLimits(relay_bytes_max=9), Ask(bytes(32), 0, 1, 10, True), [A]),
        (LIMITS, Ask(bytes(32), 0, 1, 10, False), [A]),
        (LIMITS, Ask(bytes(32), 0, 1, 10, True, (prefix(A),)), [A]),  # nobody but the asker is there
    ],
)
def test_what_is_not_relayed(limits: TransferLimits, ask: Ask, up: list[NodeId]) -> None:
    bench = Bench(limits)
    assert relay(bench, ask.id, ask, Moment(0.0, up)) == (None, [])


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
