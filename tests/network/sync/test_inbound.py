"""What to ask a neighbour next, without a loop, a link or a store."""

from __future__ import annotations

from dataclasses import dataclass, field

from muster.network.sync.inbound import AskChanges, AskRecords, Inbound
from muster.network.sync.messages import CHANGES_MAX, RECORDS_MAX, WIRE, Announce, Changes


def prefix(number: int) -> bytes:
    return number.to_bytes(8, "big")


@dataclass
class Half:
    """One end of an exchange: the state, and the records that are kept here."""

    inbound: Inbound = field(default_factory=Inbound)
    kept: set[bytes] = field(default_factory=set)
    in_flight: set[bytes] = field(default_factory=set)

    def has(self, prefix: bytes) -> bool:
        return prefix in self.kept

    def next(self) -> AskChanges | AskRecords | None:
        return self.inbound.next_request(self.in_flight, self.has)

    def announced(self, count: int, *numbers: int, last: int = 0, understood: bool = True) -> None:
        ids = [(number, prefix(number)) for number in numbers]
        message = Announce(count, last or max(numbers, default=0), ids, [], b"")
        self.inbound.on_announce(message, self.has, understood=understood)

    def changes(self, last: int, *numbers: int, count: int = 0, incarnation: int = 7) -> bool:
        entries = [(number, prefix(number)) for number in numbers]
        return self.inbound.on_changes(Changes(WIRE, incarnation, last, count, entries, b""), self.has)

    def records(self, *, empty: bool = False, misread: bool = False, unknown_author: bool = False) -> None:
        """The answer to what would be asked now."""
        asked = self.next()
        assert isinstance(asked, AskRecords)
        self.inbound.on_records(asked, self.has, empty=empty, misread=misread, unknown_author=unknown_author)


def level() -> Half:
    """A neighbour whose ten records are all here."""
    half = Half()
    assert half.changes(10, count=3)
    assert half.next() is None
    return half


def test_a_new_neighbour_is_asked_for_everything() -> None:
    half = Half()
    assert half.next() == AskChanges(0, 0, full_resync=True)
    assert not half.changes(2, 1, 2)
    assert half.next() == AskRecords([prefix(1), prefix(2)], in_full=False)
    half.kept |= {prefix(1), prefix(2)}
    assert half.next() is None
    assert half.inbound.cursor == 2


def test_a_known_neighbour_is_asked_from_the_cursor_on() -> None:
    half = Half()
    half.inbound.resume(7, 10)
    assert half.next() == AskChanges(7, 10, full_resync=False)
    assert half.changes(12)  # nothing that is lacking here: the cursor is worth being stored
    assert half.inbound.cursor == 12


def test_what_is_announced_is_asked_for_in_the_neighbours_order() -> None:
    half = level()
    half.announced(4, 12)
    half.announced(5, 11)
    assert half.next() == AskRecords([prefix(11), prefix(12)], in_full=False)


def test_what_another_neighbour_is_asked_for_is_left_to_it() -> None:
    half = level()
    half.announced(4, 11)
    half.in_flight.add(prefix(11))
    assert half.next() is None
    half.in_flight.clear()
    assert half.next() == AskRecords([prefix(11)], in_full=False)


def test_the_cursor_waits_for_what_is_wanted() -> None:
    half = level()
    half.announced(4, 11)
    half.announced(4, last=12)
    assert half.next() is not None
    assert half.inbound.cursor == 10
    half.kept.add(prefix(11))  # from another neighbour
    assert half.next() is None
    assert half.inbound.cursor == 12


def test_a_lost_announcement_shows_at_the_next_one() -> None:
    half = level()
    half.announced(4, last=11)
    assert half.next() == AskChanges(7, 10, full_resync=False)  # the fourth had a record, this one has none
    assert half.changes(11, count=4)
    half.announced(4, last=11)
    assert half.next() is None


def test_announcements_that_come_twice_are_no_gap() -> None:
    half = level()
    half.announced(4, 11)
    half.announced(5, 12)
    half.announced(4, 11)
    half.announced(5, 12)
    assert not half.inbound.gap


def test_a_comparison_from_before_an_announcement_does_not_cover_it() -> None:
    half = level()
    half.announced(4, 11)
    half.announced(5, 12, understood=False)
    half.changes(11, 11, count=4)
    half.announced(5, last=12)  # heartbeats only
    assert half.inbound.gap


def test_a_damaged_announcement_is_a_gap() -> None:
    half = level()
    half.inbound.on_damaged()
    assert half.inbound.incomplete
    assert half.next() == AskChanges(7, 10, full_resync=False)


def test_what_cannot_be_decompressed_is_asked_for_in_full() -> None:
    half = level()
    half.announced(4, 11)
    half.announced(5, 12)
    half.kept.add(prefix(12))
    half.records(misread=True)
    half.announced(6, 13)
    assert half.next() == AskRecords([prefix(11)], in_full=True)
    half.kept.add(prefix(11))
    half.records()
    assert half.next() == AskRecords([prefix(13)], in_full=False)


def test_an_unknown_author_is_looked_for_behind_the_gap_first() -> None:
    half = level()
    half.inbound.on_damaged()
    half.announced(5, 12)
    half.records(unknown_author=True)
    assert half.next() == AskChanges(7, 10, full_resync=False)


def test_of_an_unknown_author_all_is_asked_for_in_full() -> None:
    half = level()
    half.announced(4, 11)
    half.records(unknown_author=True)
    assert half.next() == AskRecords([prefix(11)], in_full=True)
    half.inbound.on_failure(unknown_author=False)
    assert half.next() == AskRecords([prefix(11)], in_full=False)


def test_what_the_neighbour_no_longer_has_is_given_up() -> None:
    half = level()
    half.announced(4, 11)
    half.records(empty=True)
    assert half.next() is None


def test_a_neighbour_that_lost_its_disk_is_compared_with_from_the_beginning() -> None:
    half = level()
    half.announced(4, 11)
    half.changes(1, 1, count=1, incarnation=8)
    assert half.inbound.incarnation == 8
    assert half.next() == AskRecords([prefix(1)], in_full=False)
    half.kept.add(prefix(1))
    assert half.next() is None
    assert half.inbound.cursor == 1


def test_long_lists_come_in_pieces() -> None:
    half = Half()
    half.next()
    half.changes(CHANGES_MAX, *range(1, CHANGES_MAX + 1))
    asked = half.next()
    assert isinstance(asked, AskRecords)
    assert asked.prefixes == [prefix(number) for number in range(1, RECORDS_MAX + 1)]
    half.kept |= {prefix(number) for number in range(1, CHANGES_MAX + 1)}
    assert half.next() == AskChanges(7, CHANGES_MAX, full_resync=True)
    assert half.changes(CHANGES_MAX + 3)
    assert not half.inbound.full_resync


def test_what_is_wanted_has_a_limit() -> None:
    half = level()
    half.announced(4, *range(11, 11 + CHANGES_MAX))
    assert not half.inbound.gap
    half.announced(5, 5000)
    assert half.inbound.gap
    assert len(half.inbound.wanted) == CHANGES_MAX
