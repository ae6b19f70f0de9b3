from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.planning.links import LinkEstimate, TransferSample, fit


def trips(latency_s: float, goodput: float, *sizes: int) -> list[TransferSample]:
    return [TransferSample(size, latency_s + size / goodput) for size in sizes]


def test_nothing_is_known_of_a_new_way() -> None:
    assert fit([], None) == LinkEstimate(0.0, None)
    assert fit([], 5000.0) == LinkEstimate(0.0, 5000.0)


@given(st.floats(0.01, 5), st.floats(500, 1e6))
def test_trips_of_different_sizes_tell_latency_from_goodput(latency_s: float, goodput: float) -> None:
    way = fit(trips(latency_s, goodput, 1000, 1100, 40_000, 90_000), None)
    assert way.goodput_bytes_s == pytest.approx(goodput, rel=1e-3) or 90_000 / goodput < 0.03
    if way.goodput_bytes_s is not None:
        assert way.latency_s == pytest.approx(latency_s, abs=1e-3)


def test_a_delayed_trip_does_not_move_the_fit() -> None:
    many = [*trips(0.3, 16_000, 1000, 9000, 1200, 30_000, 1000), TransferSample(1000, 20.0)]
    way = fit(many, None)
    assert way.goodput_bytes_s == pytest.approx(16_000, rel=0.3)


def test_trips_of_one_size_leave_the_nodes_own_measurement() -> None:
    way = fit(trips(0.5, 10_000, 1000, 1010, 990), 10_000.0)
    assert way.goodput_bytes_s == 10_000
    assert way.latency_s == pytest.approx(0.5)
    assert fit(trips(0.5, 10_000, 1000, 1010), None).goodput_bytes_s is None


def test_a_way_that_got_worse_is_not_taken_for_a_longer_one() -> None:
    before = trips(0.2, 100_000, *[2000] * 4)
    after = [TransferSample(2000, 5.0)] * 8
    way = fit([*before, *after], 100_000.0)
    assert way.goodput_bytes_s is not None
    assert way.goodput_bytes_s < 1000
    assert way.latency_s < 1
