"""What a neighbour hears, and when, without a loop, a link or a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from muster.job.figures import of_classes, sorted_figures
from muster.network.sync.deferred import RELEASED_S, WIDE_DELAY_S, Deferral, DeferralRule
from muster.network.sync.heartbeat import Heartbeat, unpack_heartbeats
from muster.network.sync.ledger import Entry
from muster.network.sync.messages import CHANGES_MAX
from muster.network.sync.outbound import (
    ANNOUNCE_BYTES_MAX,
    FLUSH_NARROW_S,
    FLUSH_S,
    HEARS_S,
    HEARTBEATS_MAX,
    LINGER_S,
    AnnounceAt,
    Announcement,
    Deferred,
    Outbound,
)
from muster.protocol.ids import NodeId
from muster.protocol.parts import Payload
from muster.protocol.records import Measurement, Record, Refusal, Update

ME, NEIGHBOUR, COORDINATOR = b"m" * 8, b"n" * 32, b"c" * 32
numbers = count(1)


def heartbeat(node: bytes, number: int = 1, job: bytes = b"") -> Heartbeat:
    return Heartbeat(node[:8], 1, number, 0, 0, 255, job, 0)


def entry(record: Record | None = None, size_bytes: int = 200) -> Entry:
    number = next(numbers)
    record = record or Refusal(b"j" * 32, 1, number, "")
    return Entry(number.to_bytes(32, "big"), b"a" * 32, record, b"", number, size_bytes)


def update(size_bytes: int) -> Entry:
    payload = Payload("dense32", size_bytes, inline=bytes(size_bytes))
    return entry(Update(b"j" * 32, b"b" * 32, 1, 1, 1, 1, 1, 0.0, payload), size_bytes)


@dataclass
class Jobs:
    """Every record is for the coordinator, unless `towards` is None."""

    towards: NodeId | None = COORDINATOR
    done: set[bytes] = field(default_factory=set)  # authors and reasons are all alike: by record
    delay_s: float = 60.0

    def defer(self, author: NodeId, record: Record) -> Deferral | None:
        return Deferral(self.towards, self.delay_s) if self.towards is not None else None

    def obsolete(self, author: NodeId, record: Record) -> bool:
        return repr(record).encode() in self.done

    def unacknowledged(self, *, had_deferred: bool) -> list[bytes]:
        return []


@dataclass
class Half:
    """One end of an exchange: the state, and what the link and the jobs are like."""

    narrow: bool = False
    jobs: Jobs = field(default_factory=Jobs)
    in_reach: set[NodeId] = field(default_factory=lambda: {COORDINATOR, NEIGHBOUR})
    outbound: Outbound = field(default_factory=lambda: Outbound(NEIGHBOUR))
    last: int = 99

    @property
    def rule(self) -> DeferralRule:
        return DeferralRule(self.jobs, narrow=lambda _: self.narrow, in_reach=self.in_reach.__contains__)

    def record(self, new: Entry, now_s: float) -> AnnounceAt | Deferred:
        return self.outbound.on_record(new, now_s, self.rule, narrow=self.narrow)

    def take(
        self,
        data: bytes | None = None,
        others: Sequence[Heartbeat] = (),
        hears: frozenset[bytes] | None = None,
    ) -> list[Announcement]:
        heartbeats = self.outbound.take_heartbeats(others)
        return self.outbound.take_announcements(
            ME, heartbeats, hears, last=self.last, compressed=lambda entry, room: data
        )

    def time(self, now_s: float) -> AnnounceAt | None:
        return self.outbound.on_time(now_s, self.rule)


def begun(*, narrow: bool = False, now_s: float = 100.0) -> Half:
    half = Half(narrow)
    half.outbound.begin(50, now_s)
    half.outbound.heartbeat_due_s = now_s + 5.0
    return half


def heartbeats_in(found: list[Announcement]) -> list[bytes]:
    """Of whom heartbeats are in the messages, in their order."""
    return [h.node for a in found for h in unpack_heartbeats(a.message.heartbeats, ME).heartbeats]


def test_records_made_together_are_announced_together() -> None:
    half = begun()
    assert half.record(entry(), 100.0) == AnnounceAt(100.0 + FLUSH_S)
    assert half.record(entry(), 100.005) == AnnounceAt(100.0 + FLUSH_S)
    [announcement] = half.take()
    assert len(announcement.message.ids) == 2
    assert (half.outbound.due_s, half.outbound.outbox) == (None, [])


def test_on_a_narrow_link_figures_wait_for_company() -> None:
    half = begun(narrow=True)
    half.jobs.towards = None
    figures = entry(Measurement(b"j" * 32, b"c" * 32, 1, sorted_figures(of_classes(1, 1, 0.0)), True))
    assert half.record(figures, 100.0) == AnnounceAt(100.0 + LINGER_S["measurement"])
    plain = entry(Update(b"j" * 32, b"b" * 32, 1, 1, 1, 1, 1, 0.0, Payload("dense32", 1, inline=b"x")))
    assert half.record(plain, 101.0) == AnnounceAt(101.0 + FLUSH_NARROW_S)


def test_announcements_are_counted_only_with_records() -> None:
    half = begun()
    before = half.outbound.count
    [silent] = half.take()
    assert (silent.message.count, silent.message.last) == (before, 99)
    half.record(entry(), 100.0)
    [telling] = half.take(b"compressed")
    assert (telling.message.count, telling.message.inline) == (before + 1, [b"compressed"])
    assert [data for _, data in telling.records] == [b"compressed"]


def test_one_announcement_is_no_longer_than_what_passes_in_one_piece() -> None:
    half = begun()
    half.last = 60
    for _ in range(3):
        half.record(entry(), 100.0)
    found = half.take(bytes(ANNOUNCE_BYTES_MAX // 2))
    assert [len(a.message.inline) for a in found] == [1, 1, 1]
    assert [a.message.last for a in found] == [50, 50, 60]  # covered once the last of them is there
    counts = [a.message.count for a in found]
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]


def test_many_heartbeats_go_in_several_announcements() -> None:
    half = begun()
    others = [heartbeat(number.to_bytes(8, "big")) for number in range(HEARTBEATS_MAX + 1)]
    found = half.take(others=others, hears=frozenset({b"aaaa"}))
    assert [unpack_heartbeats(a.message.heartbeats, ME).hears for a in found] == [{b"aaaa"}, None]
    assert len(heartbeats_in(found)) == HEARTBEATS_MAX + 1


def test_a_neighbour_that_is_far_behind_asks_by_its_cursor() -> None:
    half = begun()
    before = half.outbound.count
    for _ in range(CHANGES_MAX + 1):
        half.record(entry(), 100.0)
    assert half.outbound.outbox == []
    assert half.outbound.count == before + 1  # one that it will miss


def test_whom_this_node_hears_itself_is_said_when_it_changes_and_once_in_a_while() -> None:
    outbound = begun().outbound
    two, one = frozenset({b"aaaa", b"bbbb"}), frozenset({b"aaaa"})
    assert outbound.take_hears(frozenset(), 100.0) is None
    assert outbound.take_hears(two, 100.0) == two
    assert outbound.take_hears(two, 100.0 + HEARS_S - 1) is None
    assert outbound.take_hears(two, 100.0 + HEARS_S) == two
    assert outbound.take_hears(one, 101.0 + HEARS_S) == one
    assert outbound.take_hears(frozenset(), 102.0 + HEARS_S) == frozenset()


def test_on_a_narrow_link_the_own_heartbeat_goes_with_records() -> None:
    half = begun(narrow=True)
    half.jobs.towards = None
    assert not half.outbound.wants_own_heartbeat(narrow=True)
    half.record(entry(), 100.0)
    assert half.outbound.wants_own_heartbeat(narrow=True)
    assert not half.outbound.wants_own_heartbeat(narrow=False)
    half.outbound.add_own_heartbeat(heartbeat(ME), 130.0)
    assert half.outbound.heartbeat_due_s == 130.0
    assert heartbeats_in(half.take()) == [ME]


def test_a_narrow_link_carries_a_change_of_job_at_once_and_other_changes_later() -> None:
    outbound = begun().outbound
    outbound.on_own_heartbeat(heartbeat(ME, job=b"jobs"), 105.0)

    def due(now_s: float = 101.0, *, changed: bool = True, narrow: bool = True, job: bytes = b"jobs") -> bool:
        return outbound.heartbeat_due(now_s, changed=changed, narrow=narrow, job=job)

    assert not due()
    assert due(narrow=False)
    assert due(job=b"else")
    assert not due(changed=False, job=b"else")
    assert due(105.0, changed=False)
    assert Outbound(NEIGHBOUR).heartbeat_due(0.0, changed=False, narrow=True, job=b"")  # it is new


def test_a_narrow_link_hears_later_of_what_is_for_others() -> None:
    half = begun(narrow=True)
    first, second = entry(), entry()
    assert half.record(first, 100.0) == Deferred(first=True)
    assert half.record(second, 101.0) == Deferred(first=False)
    assert half.outbound.next_s() == 105.0  # the heartbeat
    half.outbound.heartbeat_due_s = 999.0
    assert half.outbound.next_s() == 160.0
    assert half.time(159.0) is None
    assert half.time(160.0) == AnnounceAt(160.0)
    assert half.outbound.outbox == [first]
    assert half.outbound.due_s == 160.0


def test_it_is_not_deferred_for_whom_it_is_for() -> None:
    half = begun(narrow=True)
    half.jobs.towards = NEIGHBOUR
    assert isinstance(half.record(entry(), 100.0), AnnounceAt)


def test_nothing_is_deferred_while_whom_it_is_for_is_not_in_reach() -> None:
    half = begun(narrow=True)
    assert isinstance(half.record(entry(), 100.0), Deferred)
    half.in_reach.clear()
    assert isinstance(half.record(entry(), 100.0), AnnounceAt)
    assert half.time(101.0) == AnnounceAt(101.0)  # and what was deferred goes out


def test_what_is_for_nobody_is_deferred_all_the_same() -> None:
    half = begun(narrow=True)
    half.jobs.towards = b""
    half.in_reach.clear()
    assert isinstance(half.record(entry(), 100.0), Deferred)


def test_on_a_wide_link_only_large_updates_are_deferred_and_not_for_long() -> None:
    half = begun()
    assert isinstance(half.record(entry(), 100.0), AnnounceAt)
    assert isinstance(half.record(update(300), 100.0), AnnounceAt)
    assert half.record(update(3000), 100.0) == Deferred(first=True)
    assert half.time(100.0 + WIDE_DELAY_S) is not None


def test_what_is_obsolete_is_never_told() -> None:
    half = begun(narrow=True)
    new = entry()
    half.record(new, 100.0)
    half.jobs.done.add(repr(new.record).encode())
    assert half.time(200.0) is None
    assert half.outbound.deferred.waiting == {}


def test_a_comparison_names_what_was_released_behind_the_cursor() -> None:
    half = begun(narrow=True)
    new, later = entry(), entry()
    half.record(new, 100.0)
    half.record(later, 100.0)
    half.time(160.0)
    deferred = half.outbound.deferred
    assert deferred.behind(new.sequence, half.rule) == [new]
    assert deferred.behind(new.sequence - 1, half.rule) == []
    half.jobs.done.add(repr(new.record).encode())
    assert deferred.behind(later.sequence, half.rule) == [later]
    half.record(entry(), 160.0)
    half.time(160.0 + RELEASED_S)  # by then an announcement that was lost has shown
    assert deferred.behind(later.sequence, half.rule) == []


def test_what_is_deferred_has_a_limit() -> None:
    half = begun(narrow=True)
    for _ in range(CHANGES_MAX):
        assert isinstance(half.record(entry(), 100.0), Deferred)
    assert isinstance(half.record(entry(), 100.0), AnnounceAt)
