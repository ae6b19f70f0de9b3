"""The burst model: its statistics over frames, over silence and over both, and what it tells of itself."""

from __future__ import annotations

from random import Random
from statistics import mean

import msgspec
import pytest

from muster.emulation.radio.bursts import SLOT_S, SPELLS_MAX, Burst, Chain
from muster.emulation.radio.model import Channel, Direction, LinkParams

TENTH = Burst(p_good_to_bad=0.01, p_bad_to_good=0.09)  # bad a tenth of the steps, 11 steps a spell


def chain(burst: Burst, seed: int = 1) -> Chain:
    made = Chain(Random(seed))
    made.follow(0.0, burst)
    return made


@pytest.mark.parametrize("gap_s", [0.0, 0.001, 0.0099, 0.01, 0.05, 1.0], ids=str)
def test_frames_meet_the_bad_state_as_often_whatever_the_pauses(gap_s: float) -> None:
    radio = chain(TENTH)
    met = [radio.frame(i * gap_s, i * gap_s) for i in range(40_000)]
    assert mean(met) == pytest.approx(0.1, rel=0.1)


def test_without_pauses_spells_are_counted_in_frames() -> None:
    radio = chain(TENTH)
    met = "".join("x" if radio.frame(i * 0.001, i * 0.001) else " " for i in range(40_000))
    assert mean(map(len, met.split())) == pytest.approx(1 / 0.09, rel=0.1)


def test_long_frames_make_one_step_each() -> None:
    radio = chain(TENTH)
    met = "".join("x" if radio.frame(float(i), i + 1.0) else " " for i in range(40_000))
    assert mean(map(len, met.split())) == pytest.approx(1 / 0.09, rel=0.1)


def test_in_silence_the_chain_steps_with_time() -> None:
    radio, ends = chain(TENTH), {}
    for second in range(1, 4001):
        ends.update({began: end for began, end in radio.read(second, second - 1.0).spells if end})
    spells = [end - began for began, end in ends.items()]
    seen = radio.read(4000.0)
    assert seen.passed_s == 4000.0
    assert seen.share == pytest.approx(0.1, rel=0.05)
    assert mean(spells) == pytest.approx(SLOT_S / 0.09, rel=0.05)
    assert sum(spells) == pytest.approx(seen.bad_s, abs=1)


def test_a_bad_spell_ends_though_nothing_is_sent() -> None:
    radio = chain(Burst(p_good_to_bad=1, p_bad_to_good=0.01))
    assert radio.frame(0.0, 0.001)
    during = radio.read(0.005)
    assert during.bad
    assert during.spells == ((0.0, None),)
    ended = next(end for began, end in radio.read(60.0).spells if began == 0.0)
    assert ended is not None
    assert 0.01 < ended < 10


def test_looking_does_not_change_what_happens() -> None:
    watched, alone = chain(TENTH), chain(TENTH)
    for i in range(1000):
        watched.read(i * 0.037)
    began = [spell[0] for spell in alone.read(37.0).spells]
    assert len(began) > 10
    assert [spell[0] for spell in watched.read(37.0).spells] == pytest.approx(began)


def test_only_the_newest_spells_are_remembered_but_all_counted() -> None:
    radio = chain(Burst(p_good_to_bad=1, p_bad_to_good=1))
    seen = radio.read(60.0)
    assert len(seen.spells) == SPELLS_MAX
    assert seen.bad_s == pytest.approx(30.0)
    assert [spell for spell in radio.read(60.0, 59.0).spells if spell[1]] == list(seen.spells[-50:])


def test_bursts_that_are_switched_off_leave_the_good_state() -> None:
    radio = chain(Burst(p_good_to_bad=1, p_bad_to_good=0))
    assert radio.frame(0.0, 0.0)
    radio.follow(2.0, None)
    assert not radio.frame(3.0, 3.0)
    seen = radio.read(10.0)
    assert (seen.bad, seen.bad_s, seen.passed_s, seen.spells) == (False, 2.0, 2.0, ((0.0, 2.0),))
    radio.follow(20.0, TENTH)
    assert radio.read(25.0).passed_s == 7.0


def test_a_direction_loses_in_its_bad_spells_and_nowhere_else() -> None:
    params = LinkParams(rate_kbit_s=1000, burst=Burst(p_good_to_bad=0.002, p_bad_to_good=0.02))
    link = Direction(params, Channel(), Random(5), 100.0)
    lost = []
    for i in range(3000):
        now_s = 100 + i * 0.03
        link.offer(now_s, b"x")
        if not link.deliver(now_s + 0.02):
            lost.append(now_s)
    spells = link.bad_spells(190.0, 0.0).spells
    assert 100 < len(lost) < 600
    assert all(any(a <= now_s <= (b or 190.0) for a, b in spells) for now_s in lost)
    down = msgspec.structs.replace(params, up=False)
    link.change(190.0, down)
    before = link.bad_spells(190.0, 0.0).passed_s
    assert link.bad_spells(200.0, 0.0).passed_s == before + 10
