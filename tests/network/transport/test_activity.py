"""What the watchdog goes by: who was heard, and who talks to this node without being a neighbour."""

from __future__ import annotations

from muster.network.transport.activity import (
    HALF_OPEN_S,
    SILENT_S,
    UNKNOWN_MAX,
    PeerActivity,
    UnknownSessions,
)

A = b"a" * 32


def test_what_is_known_of_a_node() -> None:
    activity = PeerActivity()
    assert activity.bytes(A) == (0, 0)
    assert activity.heard_s(A) is None
    assert activity.unanswered_s(A) is None
    activity.came(A, 5.0)
    activity.add_sent(A, 10)
    assert activity.heard_s(A) == 5.0  # what is sent is no sign of life
    activity.add_received(A, 7, 6.0)
    activity.left_unanswered(A, 8.0)
    assert activity.bytes(A) == (10, 7)
    assert activity.heard_s(A) == 6.0
    assert activity.unanswered_s(A) == 8.0


def test_a_session_that_goes_on_talking_has_half_a_link() -> None:
    unknown = UnknownSessions()
    unknown.heard("one", 0.0)
    unknown.heard("two", HALF_OPEN_S - 1)
    unknown.heard("two", HALF_OPEN_S)
    assert not unknown.half_open
    unknown.heard("one", HALF_OPEN_S)
    assert unknown.half_open
    unknown.clear()
    assert not unknown.half_open


def test_one_that_was_silent_or_became_a_neighbour_starts_again() -> None:
    unknown = UnknownSessions()
    unknown.heard("one", 0.0)
    unknown.heard("one", SILENT_S + 1)
    assert not unknown.half_open
    unknown.heard("two", 0.0)
    unknown.forget("two")
    unknown.heard("two", HALF_OPEN_S)
    assert not unknown.half_open


def test_of_many_the_last_ones_are_remembered() -> None:
    """Until now those that came when the table was full were not seen at all, whatever they went on to do."""
    unknown = UnknownSessions()
    for number in range(UNKNOWN_MAX + 1):
        unknown.heard(str(number), 0.0)
    unknown.heard("0", HALF_OPEN_S)
    assert not unknown.half_open
    unknown.heard(str(UNKNOWN_MAX), HALF_OPEN_S)
    assert unknown.half_open
