"""The spans of a day in which a node works for others."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.job.owner.hours import DAY_S, Span, open_for_s, opens_in_s, parse

HOUR = 3600
NIGHT = parse("22:00-06:00")


def test_a_span_may_go_over_midnight() -> None:
    assert (Span(22 * HOUR, 6 * HOUR),) == NIGHT
    assert open_for_s(NIGHT, 23 * HOUR) == 7 * HOUR
    assert open_for_s(NIGHT, 5 * HOUR) == HOUR
    assert open_for_s(NIGHT, 6 * HOUR) == 0.0
    assert opens_in_s(NIGHT, 6 * HOUR) == 16 * HOUR
    assert opens_in_s(NIGHT, 23 * HOUR) == 0.0


def test_spans_that_meet_are_one_and_a_whole_day_has_no_end() -> None:
    both = parse(["22:00-24:00", "00:00-06:00"])
    assert open_for_s(both, 23 * HOUR) == 7 * HOUR
    assert math.isinf(open_for_s(parse("00:00-24:00"), 5.0))
    assert math.isinf(open_for_s(parse("06:00-22:00, 22:00-06:00"), 5.0))
    assert math.isinf(open_for_s((), 5.0))


WRONG = "22-06 25:00-06:00 22:61-06:00 22:00-24:30 nights 24:00-06:00"


@pytest.mark.parametrize("text", WRONG.split())
def test_what_is_no_span_is_named(text: str) -> None:
    with pytest.raises(ValueError, match='is no span of a day: write "22:00-06:00"'):
        parse(text)
    with pytest.raises(ValueError, match="the whole day is 00:00-24:00"):
        parse("10:00-10:00")


MINUTES = st.tuples(st.integers(0, 1439), st.integers(0, 1440))


@given(st.lists(MINUTES, min_size=1, max_size=5), st.floats(0, DAY_S - 1))
def test_it_opens_and_closes_when_it_says(minutes: list[tuple[int, int]], second: float) -> None:
    spans = [Span(60 * a, 60 * b) for a, b in minutes if a != b]
    if not spans:
        return
    inside = any(span.left_s(second) > 0 for span in spans)
    assert (open_for_s(spans, second) > 0) == inside
    assert (opens_in_s(spans, second) == 0) == inside
    opens_s = opens_in_s(spans, second)
    assert open_for_s(spans, (second + opens_s + 1e-6) % DAY_S) > 0
