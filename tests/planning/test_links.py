from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.planning.links import LinkEstimate, TransferSample, estimate_link


def samples(latency_s: float, goodput: float, *sizes: int) -> list[TransferSample]:
    return [TransferSample(size, latency_s + size / goodput) for size in sizes]


def test_nothing_is_known_of_a_new_link() -> None:
    assert estimate_link([], None) == LinkEstimate(0.0, None)
    assert estimate_link([], 5000.0) == LinkEstimate(0.0, 5000.0)


@given(st.floats(0.01, 5), st.floats(500, 1e6))
def test_samples_of_different_sizes_separate_latency_from_goodput(latency_s: float, goodput: float) -> None:
    link = estimate_link(samples(latency_s, goodput, 1000, 1100, 40_000, 90_000), None)
    assert link.goodput_bytes_s == pytest.approx(goodput, rel=1e-3) or 90_000 / goodput < 0.03
    if link.goodput_bytes_s is not None:
        assert link.latency_s == pytest.approx(latency_s, abs=1e-3)


def test_a_delayed_sample_does_not_move_the_estimate() -> None:
    many = [*samples(0.3, 16_000, 1000, 9000, 1200, 30_000, 1000), TransferSample(1000, 20.0)]
    link = estimate_link(many, None)
    assert link.goodput_bytes_s == pytest.approx(16_000, rel=0.3)


def test_samples_of_one_size_leave_the_nodes_own_measurement() -> None:
    link = estimate_link(samples(0.5, 10_000, 1000, 1010, 990), 10_000.0)
    assert link.goodput_bytes_s == 10_000
    assert link.latency_s == pytest.approx(0.5)
    assert estimate_link(samples(0.5, 10_000, 1000, 1010), None).goodput_bytes_s is None


def test_a_link_that_got_worse_is_not_taken_for_a_longer_one() -> None:
    before = samples(0.2, 100_000, *[2000] * 4)
    after = [TransferSample(2000, 5.0)] * 8
    link = estimate_link([*before, *after], 100_000.0)
    assert link.goodput_bytes_s is not None
    assert link.goodput_bytes_s < 1000
    assert link.latency_s < 1
