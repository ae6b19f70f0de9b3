"""Who is dialled, where and when, after which beacons."""

from __future__ import annotations

from itertools import pairwise

from muster.network.transport.lan.beacon import Beacon, decode, encode, fleet_tag
from muster.network.transport.lan.heard import (
    ADDRESSES_MAX,
    AGAIN_MAX_S,
    FORGET_S,
    PACE_S,
    REPLY_S,
    SECOND_S,
    SESSIONS_MAX,
    SETTLE_S,
    SUSPECT_S,
    HeardSessions,
)
from muster.network.transport.lan.overlay import LINKS_ALONE, LINKS_MAX, LINKS_WANTED

LOW, HIGH = b"a" * 8, b"z" * 8


def beacon(node: bytes = HIGH, session: int = 1, port: int = 7447, links: int = 0) -> Beacon:
    return Beacon("here", b"f" * 8, node, f"{session | 1 << 63:016x}", port, links)


def crowd(heard: HeardSessions, links: int = 5) -> list[str]:
    """Twenty others are heard; their sessions."""
    others = [beacon(bytes([n]) * 8, session=n, links=links) for n in range(1, 21)]
    for number, one in enumerate(others):
        heard.hear(one, f"10.0.0.{number}", 0.0)
    return [one.session for one in others]


def nobody(session: str) -> bool:
    return False


def test_the_lower_id_dials_at_once_and_the_other_later() -> None:
    low, high = HeardSessions(LOW), HeardSessions(HIGH)
    low.hear(beacon(HIGH), "10.0.0.9", 0.0)
    high.hear(beacon(LOW), "10.0.0.1", 0.0)
    assert low.due(nobody, 0.0) == [(beacon().session, "10.0.0.9", 7447)]
    assert high.due(nobody, SECOND_S - 0.1) == []
    assert high.due(nobody, SECOND_S) == [(beacon().session, "10.0.0.1", 7447)]


def test_a_dead_address_is_not_waited_for() -> None:
    heard = HeardSessions(LOW)
    for address in ("10.0.0.9", "fd00::9", "10.1.0.9"):  # the last IPv4 one is alive
        heard.hear(beacon(), address, 0.0)
    seen, now_s = [], 0.0
    for _ in range(3):
        seen += [address for _, address, _ in heard.due(nobody, now_s)]
        now_s += 60.0 if len(seen) > 3 else 5.0
    assert seen == ["10.1.0.9", "10.0.0.9", "fd00::9"]


def test_attempts_become_rare_until_something_changes() -> None:
    heard = HeardSessions(LOW)
    times = []
    for tenth in range(3000):
        now_s = tenth / 10
        if tenth % 100 == 0:
            heard.hear(beacon(), "10.0.0.9", now_s)
        if heard.due(nobody, now_s):
            times.append(now_s)
    assert times[:5] == [0.0, 2.0, 6.0, 14.0, 30.0]
    assert max(later - earlier for earlier, later in pairwise(times)) == AGAIN_MAX_S
    heard.again(300.0)
    assert heard.due(nobody, 300.0 + REPLY_S)


def test_who_is_linked_is_left_alone_and_dialled_at_once_when_the_link_goes() -> None:
    heard = HeardSessions(LOW)
    heard.hear(beacon(), "10.0.0.9", 0.0)
    assert heard.due(lambda session: True, 50.0) == []
    assert heard.due(nobody, 51.0) == [(beacon().session, "10.0.0.9", 7447)]


def test_what_was_not_heard_for_long_is_forgotten() -> None:
    heard = HeardSessions(LOW)
    heard.hear(beacon(), "10.0.0.9", 0.0)
    heard.hear(beacon(), "10.1.0.9", 50.0)
    assert heard.due(nobody, FORGET_S + 1.0)[0][1] == "10.1.0.9"
    assert heard.due(nobody, FORGET_S + 51.0) == []
    assert len(heard) == 0


def test_a_new_session_takes_the_place_of_its_nodes_old_one() -> None:
    heard = HeardSessions(LOW)
    heard.hear(beacon(session=1), "10.0.0.9", 0.0)
    assert heard.hear(beacon(session=2), "10.0.0.9", 1.0)
    assert not heard.hear(beacon(session=2), "10.0.0.9", 2.0)
    assert [session for session, _, _ in heard.due(nobody, 2.0)] == [beacon(session=2).session]


def test_who_listens_nowhere_here_is_not_dialled() -> None:
    heard = HeardSessions(LOW)
    assert not heard.hear(beacon(port=0), "10.0.0.9", 0.0)
    assert heard.due(nobody, 100.0) == []


def test_a_flood_of_beacons_takes_bounded_room() -> None:
    heard = HeardSessions(LOW)
    for number in range(2 * SESSIONS_MAX):
        heard.hear(beacon(node=number.to_bytes(8, "big"), session=number), "10.0.0.9", 0.0)
    assert len(heard) == SESSIONS_MAX
    for number in range(3 * ADDRESSES_MAX):
        heard.hear(beacon(session=9999), f"10.0.1.{number}", 1.0)
    assert len(heard._sessions[beacon(session=9999).session].addresses) == ADDRESSES_MAX


def test_beacons_of_others_are_no_beacons() -> None:
    one = Beacon("who", fleet_tag(b"certificate"), LOW, "8" + "0" * 14 + "1", 7447)
    assert decode(encode(one)) == one
    assert decode(encode(one) + b"of a later version") == one
    assert len(encode(one)) == 31
    for data in (
        b"",
        encode(one)[:-1],
        b"\x01\x09\x07",
        b"xx" + encode(one)[2:],
        encode(one)[:3] + b"\x07" + encode(one)[4:],
    ):
        assert decode(data) is None


def test_in_a_crowd_few_are_dialled_one_after_the_other() -> None:
    heard = HeardSessions(b"\x00" * 8)  # the lowest id: it need not wait for others to dial
    crowd(heard, links=2)
    dialled: list[str] = []
    times = []
    for tenth in range(200):
        found = heard.due(dialled.__contains__, tenth / 10, links=len(dialled))
        assert len(found) <= 1
        dialled += [session for session, _, _ in found]
        times += [tenth / 10] * len(found)
    assert len(dialled) == LINKS_WANTED
    assert all(later - earlier >= PACE_S[0] for earlier, later in pairwise(times))


def test_who_does_not_answer_is_not_reckoned_with() -> None:
    heard = HeardSessions(b"\x00" * 8)
    sessions = crowd(heard, links=2)
    [first] = heard.due(nobody, 0.0)
    heard.asked(10.0)
    for number, session in enumerate(sessions):
        if session != first[0]:
            heard.hear(beacon(bytes([number + 1]) * 8, session=number + 1, links=2), f"10.0.0.{number}", 10.5)
    heard.again(10.0)
    found = [
        found[0] for tenth in range(400) for found in heard.due(nobody, 10.0 + SUSPECT_S + 1 + tenth / 10)
    ]
    assert found
    assert first[0] not in found


def test_before_a_node_knows_how_many_there_are_it_dials_two_at_most_that_have_few_links() -> None:
    heard = HeardSessions(b"\x00" * 8)
    heard.begin(0.0)
    for number in range(1, 5):
        heard.hear(
            beacon(bytes([number]) * 8, session=number, links=LINKS_MAX if number == 1 else 0),
            "10.0.0.1",
            0.0,
        )
    found = [session for session, _, _ in heard.due(nobody, 0.1)]
    assert len(found) == LINKS_ALONE
    assert beacon(session=1).session not in found
    assert heard.due(nobody, 0.2) == []
    assert len(heard.due(nobody, SETTLE_S)) == 2  # all others


def test_after_a_change_answers_say_which_address_is_alive() -> None:
    heard = HeardSessions(LOW)
    heard.hear(beacon(), "10.1.0.9", 0.0)
    heard.hear(beacon(), "10.2.0.9", 0.0)  # of two interfaces the last one that spoke; now it is dead
    assert heard.due(lambda session: True, 20.0) == []
    heard.again(20.1)
    assert heard.due(nobody, 20.1) == []
    heard.hear(beacon(), "10.1.0.9", 20.2)
    assert [address for _, address, _ in heard.due(nobody, 20.1 + REPLY_S)] == ["10.1.0.9"]
