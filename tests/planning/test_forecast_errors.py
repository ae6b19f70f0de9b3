"""How far rounds were from what was expected of them, in figures and in a sentence."""

from __future__ import annotations

import pytest

from muster.planning.forecast_errors import ForecastErrors, forecast_errors, sentence


def test_the_median_and_what_nine_of_ten_do_not_surpass() -> None:
    rounds = [(2.0, 2.0 * (1 + i / 100)) for i in range(10)]
    found = forecast_errors([*rounds, (2.0, None), (None, 3.0), (0.0, 1.0)])
    assert found == ForecastErrors(10, pytest.approx(1.045), pytest.approx(0.08))
    assert sentence(found) == "rounds took 1.04 times the expected time in the median, nine of ten within 8 %"


def test_too_short_counts_like_too_long() -> None:
    found = forecast_errors([(2.0, 1.0)] * 5 + [(2.0, 2.0)] * 5)
    assert found is not None
    assert found.within == 0.5


def test_one_round_and_none() -> None:
    assert sentence(ForecastErrors(1, 1.5, 0.5)) == "the round took 1.50 times the expected time"
    assert forecast_errors([(2.0, None)]) is None
