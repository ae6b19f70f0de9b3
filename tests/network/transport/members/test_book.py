"""Registers of members' addresses: the newer replaces the older, all that comes from outside is checked."""

from __future__ import annotations

import random

import msgspec
import pytest

from muster.network.transport.endpoints import endpoint
from muster.network.transport.lan.interfaces import Interface
from muster.network.transport.members.book import (
    ENDPOINTS_MAX,
    MEMBERS_MAX,
    PLACES_MAX,
    AddressBook,
    Place,
    decode,
    dialled,
    encode,
    is_place,
)
from muster.network.transport.members.clocks import clock_fault
from muster.network.transport.members.own import own_endpoints

ANN, BOB, SESSION = b"a" * 8, b"b" * 8, b"\x80" + b"s" * 7
NOW_S, DAY_S = 1_796_000_000.0, 86_400.0


def place(node: bytes = BOB, number: int = 1, *endpoints: str) -> Place:
    return Place(node, number, SESSION, endpoints or ("192.0.2.7:7447",))


def test_only_a_larger_number_is_news() -> None:
    book = AddressBook(ANN)
    assert book.hear(place(BOB, 5))
    assert not book.hear(place(BOB, 5, "192.0.2.8:7447"))
    assert not book.hear(place(BOB, 4))
    assert book.hear(place(BOB, 6, "192.0.2.9:7447"))
    assert book.places[BOB].endpoints == ("192.0.2.9:7447",)


def test_what_changed_here_is_told_once() -> None:
    book = AddressBook(ANN)
    assert book.note_own(SESSION, ["192.0.2.1:7447"])
    assert not book.note_own(SESSION, ["192.0.2.1:7447"])
    assert [one.number for one in book.news_for({})] == [1]
    assert book.news_for({ANN: 1}) == []
    assert book.note_own(SESSION, ["192.0.2.2:7447"])
    assert [one.endpoints for one in book.news_for({ANN: 1})] == [("192.0.2.2:7447",)]


def test_a_node_that_lost_its_disk_goes_on_above_what_others_know() -> None:
    book, others = AddressBook(ANN), AddressBook(BOB)
    others.hear(place(ANN, 57, "192.0.2.1:7447"))
    book.note_own(SESSION, ["192.0.2.2:7447"])
    assert not others.hear(book.places[ANN])
    assert book.hear(others.places[ANN])
    assert book.places[ANN].endpoints == ("192.0.2.2:7447",)
    assert others.hear(book.places[ANN])


def test_the_book_is_kept_and_its_size_is_bounded() -> None:
    book = AddressBook(ANN)
    book.note_own(SESSION, ["192.0.2.1:7447"])
    for number in range(2 * MEMBERS_MAX):
        book.hear(place(number.to_bytes(8, "big")))
    assert len(book.places) == MEMBERS_MAX
    assert ANN in book.places
    assert len(book.news_for({})) == PLACES_MAX
    assert AddressBook(ANN, book.keep()).places == book.places
    message = encode(
        NOW_S, [place(BOB, 1, *["[2001:db8:1111:2222:3333:4444:5555:6666]:65535"] * ENDPOINTS_MAX)]
    )
    assert len(message) < 450


@pytest.mark.parametrize(
    "bad",
    [
        place(b"short"),
        place(BOB, -1),
        place(BOB, 1 << 60),
        Place(BOB, 1, b"", ()),
        Place(BOB, 1, bytes(8), ()),
        place(BOB, 1, "gate.local:7447"),
        place(BOB, 1, "127.0.0.1:7447"),
        place(BOB, 1, "0.0.0.0:7447"),
        place(BOB, 1, "[fe80::1]:7447"),
        place(BOB, 1, "[fe80::1%eth0]:7447"),
        place(BOB, 1, "224.0.0.1:7447"),
        place(BOB, 1, "192.0.2.1:0"),
        place(BOB, 1, "x" * 1000),
        place(BOB, 1, *["192.0.2.1:7447"] * (ENDPOINTS_MAX + 1)),
    ],
)
def test_a_register_out_of_its_limits_is_left_out(bad: Place) -> None:
    assert not is_place(bad)
    greeting = decode(encode(NOW_S, [bad, place()]))
    assert greeting is not None
    assert greeting.places == (place(),)


def test_garbage_is_none_and_a_later_version_may_say_more() -> None:
    later = msgspec.msgpack.encode([2, 5, [[BOB, 1, SESSION, ["192.0.2.7:7447"], "more"]], "yet more"])
    greeting = decode(later)
    assert greeting is not None
    assert greeting.places == (place(),)
    good, rng = encode(NOW_S, [place()]), random.Random(20261130)
    for _ in range(2000):
        data = bytearray(good)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        found = decode(bytes(data))
        assert found is None or all(is_place(one) for one in found.places)
    assert decode(b"") is None


def test_own_endpoints_are_those_that_others_can_dial() -> None:
    interfaces = [
        Interface("lo", 1, True, True, ("127.0.0.1", "::1")),
        Interface("eth0", 2, True, True, ("2001:db8::1", "192.0.2.1", "fe80::1%2")),
        Interface("eth1", 3, False, True, ("198.51.100.1",)),
    ]
    assert own_endpoints([endpoint("[::]:7447")], interfaces) == ["192.0.2.1:7447", "[2001:db8::1]:7447"]
    assert own_endpoints([endpoint("0.0.0.0:7448")], interfaces) == ["192.0.2.1:7448"]
    assert own_endpoints([endpoint("10.9.0.1:7447"), endpoint("localhost:7")], interfaces) == [
        "10.9.0.1:7447"
    ]
    assert dialled("10.9.0.1:7447") == endpoint("10.9.0.1:7447")


@pytest.mark.parametrize(
    ("own_s", "other_s", "said"),
    [
        (300.0, NOW_S, "the clock of this machine says 1970-01-01: set it"),
        (NOW_S, 300.0, "the clock of bravo says 1970-01-01: set it there"),
        (4_146_000_000.0, NOW_S, "is 27,199 days ahead of that of bravo (2101-05-20, 2026-11-30)"),
        (NOW_S, NOW_S + 2 * DAY_S, "is 2 days behind that of bravo"),
        (NOW_S, 1e30, "no date"),
    ],
)
def test_clocks_that_differ_by_more_than_a_day_are_said(own_s: float, other_s: float, said: str) -> None:
    sentence = clock_fault(own_s, other_s, "bravo")
    assert sentence is not None
    assert said in sentence
    assert "'timedatectl'" in sentence


def test_clocks_that_differ_by_hours_are_no_matter() -> None:
    assert clock_fault(NOW_S, NOW_S + DAY_S - 1, "bravo") is None
