"""The radio model in virtual time: times are numbers that the tests pass in."""

from __future__ import annotations

from random import Random
from statistics import mean

import msgspec
import pytest

from muster.emulation.radio.bursts import Burst
from muster.emulation.radio.model import Channel, Direction, LinkParams, fault_in

FRAME = bytes(1000)


def direction(seed: int = 1, **params: object) -> Direction:
    return Direction(LinkParams(**params), Channel(), Random(seed))  # type: ignore[arg-type]


def drain(link: Direction) -> list[tuple[float, bytes]]:
    arrived: list[tuple[float, bytes]] = []
    while (due_s := link.next_s()) is not None:
        arrived += [(due_s, frame) for frame in link.deliver(due_s)]
    return arrived


def test_rate_and_delay_of_a_burst_of_frames() -> None:
    link = direction(rate_kbit_s=1000, delay_ms=50, queue_bytes=1_000_000)
    for _ in range(100):
        assert link.offer(10.0, FRAME)
    times = [time_s for time_s, _ in drain(link)]
    # 8 ms of air time a frame, one after the other, then 50 ms
    assert times == pytest.approx([10.0 + 0.008 * (i + 1) + 0.05 for i in range(100)])
    assert link.count().delivered_bytes == 100_000


def test_an_idle_link_does_not_save_up_air_time() -> None:
    link = direction(rate_kbit_s=1000)
    link.offer(0.0, FRAME)
    link.offer(100.0, FRAME)
    assert [time_s for time_s, _ in drain(link)] == pytest.approx([0.008, 100.008])


def test_frames_arrive_unchanged_and_in_order_whatever_the_jitter() -> None:
    link = direction(rate_kbit_s=10_000, delay_ms=100, jitter_ms=80)
    frames = [bytes([i]) * 60 for i in range(200)]
    for i, frame in enumerate(frames):
        link.offer(i * 0.01, frame)
    arrived = drain(link)
    assert [frame for _, frame in arrived] == frames
    assert arrived == sorted(arrived, key=lambda entry: entry[0])


def test_jitter_spreads_around_the_delay() -> None:
    link = direction(rate_kbit_s=1_000_000, delay_ms=100, jitter_ms=20)
    delays_ms = []
    for i in range(2000):
        link.offer(float(i), b"x")
        [(time_s, _)] = drain(link)
        delays_ms.append((time_s - i) * 1000)
    assert mean(delays_ms) == pytest.approx(100, abs=1)
    assert 80 <= min(delays_ms) < 81
    assert 119 < max(delays_ms) <= 120.01


def test_a_full_queue_drops_what_comes_last() -> None:
    link = direction(rate_kbit_s=8, queue_bytes=3000)  # one frame a second
    taken = [link.offer(0.0, FRAME) for _ in range(5)]
    assert taken == [True, True, True, False, False]
    assert link.backlog_bytes(0.5) == 3000
    assert link.offer(1.5, FRAME)  # the first has gone
    assert link.count().dropped_queue == 2
    assert link.count().frames == 4


def test_a_frame_larger_than_the_queue_passes_when_nothing_waits() -> None:
    assert direction(queue_bytes=100).offer(0.0, FRAME)


def test_the_default_queue_is_a_second_of_the_rate_but_16_kib_at_least() -> None:
    assert LinkParams(rate_kbit_s=1000).queue_limit_bytes() == 125_000
    assert LinkParams(rate_kbit_s=9.6).queue_limit_bytes() == 16 * 1024
    assert LinkParams(rate_kbit_s=1000, queue_ms=100).queue_limit_bytes() == 12_500
    assert LinkParams(queue_bytes=99, queue_ms=5).queue_limit_bytes() == 99


def test_independent_loss_uses_air_time_and_is_counted() -> None:
    link = direction(rate_kbit_s=1_000_000, loss=0.05)
    for i in range(20_000):
        link.offer(float(i), FRAME)
    drain(link)
    count = link.count()
    assert count.frames == 20_000
    assert count.dropped_loss == pytest.approx(1000, rel=0.1)
    assert count.delivered_frames + count.dropped_loss == count.frames
    lossy = direction(rate_kbit_s=8, loss=1.0)
    lossy.offer(0.0, FRAME)
    lossy.offer(0.0, FRAME)
    assert lossy.next_s() == 1.0
    assert lossy.backlog_bytes(0.5) == 2000
    assert lossy.backlog_bytes(1.5) == 1000
    assert drain(lossy) == []


def test_bursts_have_the_chain_s_loss_and_length() -> None:
    # bad a tenth of the time: 0.01 / (0.01 + 0.09); spells of 1 / 0.09 frames
    link = direction(rate_kbit_s=1_000_000, burst=Burst(p_good_to_bad=0.01, p_bad_to_good=0.09, loss_bad=1.0))
    pattern = []
    for i in range(40_000):
        link.offer(i * 0.001, b"x")
        pattern.append(not drain(link))
    runs = "".join("x" if lost else " " for lost in pattern).split()
    assert mean(pattern) == pytest.approx(0.1, rel=0.1)
    assert mean(len(run) for run in runs) == pytest.approx(1 / 0.09, rel=0.1)


def test_loss_in_the_bad_state_can_be_partial() -> None:
    link = direction(rate_kbit_s=1_000_000, burst=Burst(p_good_to_bad=1, p_bad_to_good=0, loss_bad=0.5))
    for i in range(5000):
        link.offer(float(i), b"x")
    drain(link)
    assert link.count().dropped_loss == pytest.approx(2500, rel=0.05)


def test_a_shared_channel_gives_its_air_time_once() -> None:
    channel = Channel()
    there, back = (Direction(LinkParams(channel="sea"), channel, Random(seed)) for seed in (1, 2))
    there.offer(0.0, FRAME)
    back.offer(0.001, FRAME)
    there.offer(0.002, FRAME)
    assert [time_s for time_s, _ in drain(there)] == pytest.approx([0.008, 0.024])
    assert [time_s for time_s, _ in drain(back)] == pytest.approx([0.016])


def test_a_cut_loses_what_is_under_way_and_takes_nothing_more() -> None:
    link = direction(rate_kbit_s=8, delay_ms=10_000)
    for _ in range(3):
        link.offer(0.0, FRAME)
    link.change(1.5, msgspec.structs.replace(link.params, up=False))
    assert link.next_s() is None
    assert not link.offer(2.0, FRAME)
    assert link.count().dropped_down == 4
    assert link.count().unsent_bytes == 2000  # the first frame had left
    link.change(3.0, msgspec.structs.replace(link.params, up=True))
    link.offer(3.0, FRAME)
    assert [time_s for time_s, _ in drain(link)] == pytest.approx([14.0])


def test_a_new_rate_holds_for_what_waits() -> None:
    link = direction(rate_kbit_s=8, queue_bytes=100_000)
    for _ in range(4):
        link.offer(0.0, FRAME)
    link.change(1.5, msgspec.structs.replace(link.params, rate_kbit_s=80))
    # the first is out at 1 s; the other three begin again at 1.5 s with 0.1 s each
    assert link.backlog_bytes(1.5) == 3000
    assert [time_s for time_s, _ in drain(link)] == pytest.approx([1.0, 1.6, 1.7, 1.8])
    assert link.backlog_bytes(1.75) == 1000


def test_the_same_seed_draws_the_same_fate() -> None:
    def fate(seed: int) -> list[float]:
        link = direction(seed, rate_kbit_s=1000, delay_ms=20, jitter_ms=10, loss=0.3)
        for i in range(50):
            link.offer(i * 0.1, FRAME)
        return [time_s for time_s, _ in drain(link)]

    assert fate(7) == fate(7)
    assert fate(7) != fate(8)


@pytest.mark.parametrize(
    ("params", "word"),
    [
        (LinkParams(rate_kbit_s=0), "rate_kbit_s"),
        (LinkParams(delay_ms=-1), "delay_ms"),
        (LinkParams(delay_ms=1, jitter_ms=2), "jitter_ms"),
        (LinkParams(loss=1.5), "loss"),
        (LinkParams(burst=Burst(2, 0)), "burst.p_good_to_bad"),
        (LinkParams(queue_bytes=-5), "queue_bytes"),
    ],
)
def test_impossible_parameters_are_named(params: LinkParams, word: str) -> None:
    assert word in str(fault_in(params))
    assert fault_in(LinkParams()) is None
