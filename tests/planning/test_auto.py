from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.compression import CodecError, auto, parse

SIZE = 28_938


def samples(codec, waiting, count=3):
    return [auto.Sample(codec, 500, 1.0, waiting)] * count


def test_a_job_starts_sparse():
    assert auto.choose(SIZE, None, 10).codec == auto.START
    assert auto.choose(SIZE, 1000, 60).codec == auto.START
    assert "not measured" in auto.choose(SIZE, None, 10).why


def test_the_ladder_costs_more_at_every_rung():
    costs = [parse(name).estimate_bytes(SIZE) for name in auto.LADDER]
    assert all(a < b for a, b in itertools.pairwise(costs))


def test_a_fast_link_sends_fp16_because_bytes_save_nothing():
    choice = auto.choose(SIZE, 10_000_000, 10)
    assert choice.codec == "dense16"
    assert "less than 1%" in choice.why


def test_a_slow_link_caps_the_density():
    start = parse(auto.START).estimate_bytes(SIZE)
    choice = auto.choose(SIZE, start / 10, 10)
    assert auto.LADDER.index(choice.codec) < auto.LADDER.index(auto.START)
    assert choice.seconds <= 5


def test_a_link_for_which_nothing_fits_gets_the_smallest():
    choice = auto.choose(SIZE, 1, 1)
    assert choice.codec == auto.LADDER[0]
    assert "even the smallest" in choice.why
    assert auto.choose(SIZE, 0, 1).seconds == math.inf


def test_backlog_moves_one_rung_and_only_when_settled():
    assert auto.choose(SIZE, 500, 60, samples("stc:0.02", 40)).codec == "stc:0.05"
    assert auto.choose(SIZE, 500, 60, samples("stc:0.02", 0.5)).codec == "stc:0.01"
    assert auto.choose(SIZE, 500, 60, samples("stc:0.02", 5)).codec == "stc:0.02"
    assert auto.choose(SIZE, 500, 60, samples("stc:0.02", 40, count=2)).codec == "stc:0.02"
    changed = [*samples("stc:0.01", 30, 2), *samples("stc:0.02", 40, 1)]
    assert auto.choose(SIZE, 500, 60, changed).codec == "stc:0.02"


@given(
    st.integers(0, 10**7),
    st.one_of(st.none(), st.floats(0, 1e9)),
    st.floats(0, 1e6),
    st.sampled_from(auto.LADDER),
    st.floats(0, 100),
)
def test_every_choice_is_a_codec_with_a_reason(size, goodput, time, codec, waiting):
    choice = auto.choose(size, goodput, time, samples(codec, waiting))
    assert parse(choice.codec).name == choice.codec
    assert choice.why
    smallest = min(parse(name).estimate_bytes(size) for name in auto.LADDER)
    if goodput is not None and smallest <= goodput * time * auto.SHARE:
        assert choice.seconds <= auto.SHARE * time * (1 + 1e-9)


def test_forecast_and_outcome_stand_side_by_side():
    text = auto.review(auto.choose(SIZE, 1000, 60), 555, 1.25)
    assert "555 bytes in 1.25 s" in text
    assert "forecast" in text


def test_nonsense_is_refused():
    with pytest.raises(CodecError):
        auto.choose(SIZE, math.nan, 1)
