"""One neighbour's window: what is outstanding, when an answer is late, and when it is given up."""

from __future__ import annotations

import pytest
from bulk_world import ident

from muster.network.blobs.fetch.missing_ranges import MissingRanges
from muster.network.blobs.window import (
    FIRST_RATE_BYTES_S,
    FIRST_TIMEOUT_S,
    TIMEOUT_FACTOR_MAX,
    TIMEOUT_MAX_S,
    PeerWindow,
    PeerWindows,
)


def test_two_small_chunks_are_outstanding_while_nothing_is_known() -> None:
    window = PeerWindow()
    for _ in range(2):
        assert window.next_chunk_bytes() == 4096
        window.add(4096)
    assert window.next_chunk_bytes() == 0
    window.release(4096)
    assert window.next_chunk_bytes() == 4096


def test_a_chunk_larger_than_the_window_goes_alone() -> None:
    window = PeerWindow()
    window.add(100_000)
    assert window.next_chunk_bytes() == 0
    window.release(100_000)
    assert window.next_chunk_bytes() == 4096


def test_the_timeout_doubles_once_for_requests_that_were_outstanding_together() -> None:
    window = PeerWindow()
    first_s = FIRST_TIMEOUT_S + 8192 / FIRST_RATE_BYTES_S
    for _ in range(2):
        window.add(4096)
        window.on_sent(0.0)
    assert window.timeout_s() == pytest.approx(first_s)
    window.on_no_answer(0.0, 30.0)
    window.on_no_answer(0.0, 31.0)
    assert window.timeout_s() == pytest.approx(2 * first_s)
    mark = window.on_sent(32.0)
    window.on_no_answer(32.0, 60.0)
    assert window.timeout_s() == pytest.approx(4 * first_s)
    for second in range(61, 71):
        window.on_sent(float(second))
        window.on_no_answer(float(second), float(second))
    assert window.timeout_s() == min(TIMEOUT_FACTOR_MAX * first_s, TIMEOUT_MAX_S)
    window.on_sent(80.0)
    window.on_answer(mark, 81.0, 4096, 0.0)
    assert window.timeout_s() < 2 * 10.0 + 4.0 * (8192 / 100.0 + 49.0)


def test_the_oldest_idle_window_is_forgotten() -> None:
    windows = PeerWindows(2)
    a, b, c = (ident(name) for name in "abc")
    windows.of(a).add(4096)
    kept = windows.of(b)
    assert windows.of(b) is kept
    windows.of(c)
    assert windows.find(b) is None
    assert windows.find(a) is not None
    assert windows.find(c) is not None


def test_missing_ranges_are_taken_put_back_dropped_and_brought_forward() -> None:
    missing = MissingRanges([(0, 10), (20, 10), (40, 10)])
    assert missing.take(4) == (0, 4)
    missing.put_back(0, 4)
    assert list(missing) == [(0, 4), (4, 6), (20, 10), (40, 10)]
    missing.drop(2, 20)
    assert list(missing) == [(0, 2), (22, 8), (40, 10)]
    missing.prioritise(25)
    assert list(missing) == [(25, 5), (0, 2), (22, 3), (40, 10)]
    missing.prioritise(25)
    missing.prioritise(30)  # nothing is missing there
    assert list(missing) == [(25, 5), (0, 2), (22, 3), (40, 10)]
    assert missing.take(100) == (25, 5)
    while missing:
        missing.take(3)
    assert list(missing) == []
