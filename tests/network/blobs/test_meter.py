from __future__ import annotations

import pytest

from muster.network.blobs.meter import WINDOW_BYTES_MAX, GoodputMeter, WindowSize, window_size


@pytest.mark.parametrize(
    ("kbit_s", "count", "chunk_kib"),
    [(9.6, 2, 4), (64, 2, 4), (256, 2, 16), (1000, 8, 16), (5000, 19, 32), (1_000_000, 24, 32)],
)
def test_about_one_second_is_outstanding(kbit_s: float, count: int, chunk_kib: int) -> None:
    assert window_size(kbit_s * 125, 0.1) == WindowSize(chunk_kib * 1024, count)


def test_limits_of_the_window() -> None:
    assert window_size(None, None) == WindowSize(4096, 2)
    assert window_size(1e12, 0.001).size_bytes <= WINDOW_BYTES_MAX
    # an answer that takes two seconds at least: a window of one second would halve the rate
    assert window_size(32_000, 2.0).size_bytes >= 2.5 * 32_000


def feed(meter: GoodputMeter, rate_bytes_s: float, rtt_s: float, chunks: int, start_s: float = 0.0) -> float:
    """Pull `chunks` through a link that serialises at the rate; returns when the last one came."""
    now_s = free_s = start_s
    flying: list[tuple[object, float, int]] = []
    for _ in range(chunks):
        size = meter.window_size()
        while len(flying) < size.count:
            free_s = max(free_s, now_s + rtt_s) + size.chunk_bytes / rate_bytes_s
            flying.append((meter.asked(now_s, limited=False), free_s, size.chunk_bytes))
        mark, now_s, size_bytes = flying.pop(0)
        meter.answered(mark, now_s, size_bytes)  # type: ignore[arg-type]
    while flying:
        flying.pop()
        meter.lost()
    return now_s


@pytest.mark.parametrize("rate_bytes_s", [1_200.0, 8_000.0, 32_000.0, 125_000.0, 625_000.0, 2_500_000.0])
@pytest.mark.parametrize("rtt_s", [0.002, 0.1, 0.6])
def test_the_rate_is_found(rate_bytes_s: float, rtt_s: float) -> None:
    meter = GoodputMeter()
    feed(meter, rate_bytes_s, rtt_s, 200)
    attainable = min(rate_bytes_s, WINDOW_BYTES_MAX / rtt_s)
    assert meter.rate_bytes_s == pytest.approx(attainable, rel=0.1)


def test_a_slower_link_is_followed_down_and_up() -> None:
    meter = GoodputMeter()
    now_s = feed(meter, 125_000, 0.05, 100)
    now_s = feed(meter, 16_000, 0.05, 40, now_s)
    assert meter.rate_bytes_s == pytest.approx(16_000, rel=0.1)
    feed(meter, 125_000, 0.05, 60, now_s)
    assert meter.rate_bytes_s == pytest.approx(125_000, rel=0.1)


def test_a_sample_that_shows_nothing_lowers_nothing() -> None:
    meter = GoodputMeter()
    now_s = feed(meter, 125_000, 0.05, 100)
    before = meter.rate_bytes_s
    mark = meter.asked(now_s, limited=True)
    meter.answered(mark, now_s + 1, 500)
    mark = meter.asked(now_s + 2, limited=False)
    meter.answered(mark, now_s + 10, 4096, held_s=7.9)
    mark = meter.asked(now_s + 20, limited=False)
    meter.answered(mark, now_s + 20.1, 0)
    assert meter.rate_bytes_s == before


def test_pings() -> None:
    meter = GoodputMeter()
    meter.pinged(0.1)
    meter.pinged(0.9)
    assert meter.rtt_s == pytest.approx(0.2)
    assert meter.rtt_min_s == 0.1
    assert meter.rate_bytes_s is None
