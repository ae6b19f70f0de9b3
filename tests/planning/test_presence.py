"""When a node that comes and goes is expected back, how long it stays, and what is asked of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.network.sync.spells import Spells
from muster.planning.presence import (
    LATE_S,
    Span,
    contact_steps,
    heard_again,
    linger_s,
    share_here,
    stays,
)

SECONDS = st.floats(0.0, 1e6)
MANY = st.lists(SECONDS, max_size=8).map(tuple)
SPELLS = st.builds(Spells, MANY, MANY, SECONDS, SECONDS, st.booleans())
DUTY = Spells((10.0, 10.0, 10.0), (20.0, 20.0, 20.0))


def test_of_one_that_was_never_away_nothing_is_known() -> None:
    assert heard_again(Spells(silent_s=100.0)) is None
    assert stays(Spells(here_for_s=100.0)) is None
    assert share_here(Spells(here_for_s=100.0)) == 1.0


def test_by_two_absences_it_is_back_after_the_longest_and_half_of_that_again() -> None:
    assert heard_again(Spells(away_s=(5.0, 20.0))) == Span(5.0, 12.5, 30.0)


def test_a_short_absence_may_be_two_seconds_longer() -> None:
    again = heard_again(Spells(away_s=(2.0,)))
    assert again is not None
    assert again.late_s == 2.0 + LATE_S


def test_one_that_keeps_time_is_not_waited_for_much_longer_than_usual() -> None:
    """Until now for half of its absence again: 30 s."""
    again = heard_again(DUTY)
    assert again == Span(20.0, 20.0, 20.0 + LATE_S)


def test_one_long_outage_is_no_rhythm() -> None:
    again = heard_again(Spells(away_s=(20.0, 21.0, 600.0, 19.0, 20.0)))
    assert again is not None
    assert again.late_s < 32.0


def test_the_longer_it_is_silent_the_longer_were_the_absences_that_this_may_be() -> None:
    spells = Spells(away_s=(10.0, 60.0, 12.0), silent_s=15.0)
    again = heard_again(spells)
    assert again is not None
    assert again.early_s == again.likely_s == 45.0


def test_one_that_is_away_longer_than_ever_is_expected_no_more() -> None:
    assert heard_again(Spells(away_s=(20.0, 20.0, 20.0), silent_s=22.5)) is None


@given(SPELLS)
def test_spans_are_in_order_and_begin_now(spells: Spells) -> None:
    for span in (heard_again(spells), stays(spells)):
        assert span is None or 0.0 <= span.early_s <= span.likely_s <= span.late_s
    assert 0.0 <= share_here(spells) <= 1.0


def test_how_long_it_stays_follows_from_how_long_it_stayed() -> None:
    assert stays(Spells((10.0, 30.0), here_for_s=4.0)) == Span(6.0, 16.0, 26.0)
    assert stays(Spells((10.0, 30.0), here_for_s=12.0)) == Span(18.0, 18.0, 18.0)
    assert stays(Spells((10.0, 30.0), here_for_s=31.0)) is None


def test_who_is_here_for_a_third_of_the_time() -> None:
    assert share_here(DUTY) == pytest.approx(1 / 3)
    assert share_here(Spells((10.0,), (20.0,), silent_s=1000.0)) < 0.01


def test_a_rare_node_is_asked_for_what_fits_its_contact() -> None:
    assert contact_steps(DUTY, overhead_s=2.0, step_s=0.5, wanted=100) == 100, "too few fit, it works on"
    assert contact_steps(DUTY, overhead_s=2.0, step_s=0.5, wanted=40) == 16
    assert contact_steps(DUTY, overhead_s=2.0, step_s=0.5, wanted=10) == 10
    late = Spells(DUTY.here_s, DUTY.away_s, here_for_s=4.0)
    assert contact_steps(late, overhead_s=2.0, step_s=0.5, wanted=20) == 8


def test_one_that_is_off_when_it_is_away_is_never_asked_for_more_than_a_contact() -> None:
    off = Spells(DUTY.here_s, DUTY.away_s, off=True)
    assert contact_steps(off, overhead_s=2.0, step_s=0.5, wanted=100) == 16
    assert contact_steps(off, overhead_s=30.0, step_s=0.5, wanted=100) == 1


def test_one_that_always_was_here_is_asked_for_all() -> None:
    assert contact_steps(Spells(here_for_s=9.0), overhead_s=2.0, step_s=0.5, wanted=100) == 100


@given(SPELLS, SECONDS, SECONDS, st.integers(0, 1000))
def test_never_more_steps_than_are_wanted_and_never_none(
    spells: Spells, overhead_s: float, step_s: float, wanted: int
) -> None:
    assert 1 <= contact_steps(spells, overhead_s, step_s, wanted) <= max(1, wanted)


def test_the_limit_is_what_the_asker_said_or_follows_from_patience() -> None:
    assert linger_s(0.0, 20.0) == 0.0
    assert linger_s(None, 20.0) == 100.0
