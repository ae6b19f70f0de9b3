"""When a node that comes and goes is expected back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from muster.planning.presence import LATE_S, back_by_s, linger_s

SECONDS = st.floats(0.0, 1e6)


def test_of_one_that_was_never_away_nothing_is_known() -> None:
    assert back_by_s(100.0, ()) is None


def test_it_is_expected_after_its_longest_pause_and_half_of_that_again() -> None:
    assert back_by_s(100.0, (5.0, 20.0, 6.0)) == 130.0


def test_a_short_pause_may_be_two_seconds_longer() -> None:
    assert back_by_s(10.0, (2.0,)) == 12.0 + LATE_S


@given(SECONDS, st.lists(SECONDS, min_size=1, max_size=8))
def test_never_before_its_longest_pause_is_over(heard_s: float, pauses_s: list[float]) -> None:
    expected_s = back_by_s(heard_s, pauses_s)
    assert expected_s is not None
    assert expected_s > heard_s + max(pauses_s)


def test_the_limit_is_what_the_asker_said_or_follows_from_patience() -> None:
    assert linger_s(0.0, 20.0) == 0.0
    assert linger_s(None, 20.0) == 100.0
