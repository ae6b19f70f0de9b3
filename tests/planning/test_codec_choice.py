from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.compression import CodecError, parse
from muster.planning import codec_choice
from muster.planning.codec_choice import (
    LADDER,
    START,
    Message,
    SentMessage,
    choose,
    down_choice,
    time_limited,
    up_choice,
)
from muster.protocol.parts import Recipe, StopRule, Target
from muster.protocol.records import Job

SIZE = Message(28_938)
LARGE = Message(1_000_000)


def cost(name: str) -> int:
    return SIZE.size_bytes(name)


def samples(codec: str, residual_ratio: float, count: int = 3) -> list[SentMessage]:
    return [SentMessage(codec, residual_ratio)] * count


def test_a_job_starts_sparse_or_with_two_packets() -> None:
    assert choose(LARGE, None, 1).codec == START
    assert choose(SIZE, None, 1).codec == "stc:0.05"
    assert choose(SIZE, None, 1, never_free=None).codec == "stc:0.1"
    assert choose(SIZE, cost(START) / 0.3, 1).codec == START
    assert "not measured" in choose(SIZE, None, 1).why
    assert choose(SIZE, None, 1).seconds is None


def test_the_ladder_costs_more_and_leaves_less_at_every_rung() -> None:
    assert all(a < b for a, b in itertools.pairwise(cost(name) for name in LADDER))
    assert len(codec_choice.USUAL_RESIDUAL_RATIO) == len(LADDER)
    assert all(a > b for a, b in itertools.pairwise(codec_choice.USUAL_RESIDUAL_RATIO))


def test_a_fast_link_sends_eight_bits_because_bytes_save_nothing() -> None:
    choice = choose(SIZE, 10_000_000, 1)
    assert choice.codec == "quant8"
    assert "next to nothing" in choice.why
    assert choice.seconds == choice.size_bytes / 10_000_000


def test_a_128_kbit_link_that_ten_nodes_share_gets_sparse_ternary() -> None:
    assert choose(SIZE, 1_600, 1).codec.startswith("stc")
    assert choose(SIZE, 16_000, 1.5).codec in ("stc:0.05", "stc:0.1")


def test_a_slow_link_caps_the_density() -> None:
    choice = choose(SIZE, cost(START), 1, samples(START, 50))
    assert LADDER.index(choice.codec) < LADDER.index(START)
    assert choice.seconds is not None
    assert choice.seconds <= codec_choice.SHARE


def test_a_round_without_computing_is_no_reason_to_send_next_to_nothing() -> None:
    """A restarted coordinator knows no latencies, and a small model computes for milliseconds."""
    assert choose(Message(2_410), 12_000, 0.06).codec in ("quant4", "quant8")
    assert choose(Message(2_410), 1_200, 0.0).codec == choose(Message(2_410), 1_200, 1.0).codec != LADDER[0]


def test_a_link_for_which_nothing_fits_gets_the_smallest() -> None:
    choice = choose(SIZE, 1, 1)
    assert choice.codec == LADDER[0]
    assert "even the smallest" in choice.why
    assert choose(SIZE, 0, 1).seconds == math.inf


def test_the_residual_moves_one_rung_and_only_when_settled() -> None:
    goodput = cost("stc:0.05") * 2.5  # room for 5 %, no rung that is free beyond 2 %
    assert choose(SIZE, goodput, 1, samples("stc:0.02", 40)).codec == "stc:0.05"
    assert choose(SIZE, goodput, 1, samples("stc:0.05", 0.5)).codec == "stc:0.02"
    assert choose(SIZE, goodput, 1, samples("stc:0.02", 5)).codec == "stc:0.02"
    assert choose(SIZE, goodput, 1, samples("stc:0.02", 40, count=2)).codec == "stc:0.02"
    changed = [*samples("stc:0.01", 30, 2), *samples("stc:0.02", 40, 1)]
    assert choose(SIZE, goodput, 1, changed).codec == "stc:0.02"


def test_the_forecast_of_the_residual_follows_the_measurement() -> None:
    same = choose(LARGE, None, 1, samples("stc:0.02", 7))
    assert same.residual_ratio == 7
    denser = choose(LARGE, None, 1, samples("stc:0.02", 40))
    assert denser.codec == "stc:0.05"
    assert 0 < denser.residual_ratio < 40


@given(
    st.integers(0, 10**7),
    st.one_of(st.none(), st.floats(0, 1e9)),
    st.floats(0, 1e6),
    st.sampled_from(LADDER),
    st.floats(0, 100),
)
def test_every_choice_is_a_codec_with_a_reason(
    size: int, goodput: float | None, compute_s: float, codec: str, residual_ratio: float
) -> None:
    choice = choose(Message(size), goodput, compute_s, samples(codec, residual_ratio))
    assert parse(choice.codec).name == choice.codec
    assert choice.why
    assert choice.residual_ratio >= 0
    assert choice == choose(Message(size), goodput, compute_s, samples(codec, residual_ratio))
    smallest = min(parse(name).estimate_bytes(size) for name in LADDER)
    if goodput is not None and smallest <= goodput * compute_s * codec_choice.SHARE:
        assert choice.seconds is not None
        assert choice.seconds <= codec_choice.SHARE * max(compute_s, codec_choice.COMPUTE_MIN_S) * (1 + 1e-9)


@given(st.floats(1, 1e8), st.floats(1, 1e8), st.floats(0.01, 100))
def test_a_faster_link_never_gets_a_sparser_codec(a: float, b: float, compute_s: float) -> None:
    slow, fast = sorted((a, b))
    rungs = [LADDER.index(choose(SIZE, g, compute_s, samples(START, 10)).codec) for g in (slow, fast)]
    assert rungs[0] <= rungs[1]


def test_what_the_recipe_names_is_taken() -> None:
    recipe = Recipe(0.1, 16, 20, 0, codec="stc:0.005", down_codec="dense32")
    assert up_choice(job(recipe), SIZE, 100.0, 1.0, []).codec == "stc:0.005"
    assert down_choice(job(recipe), SIZE, 100.0, 1.0, []).codec == "dense32"
    assert up_choice(job(recipe), SIZE, 100.0, 1.0, []).seconds == cost("stc:0.005") / 100
    auto = Recipe(0.1, 16, 20, 0)
    assert up_choice(job(auto), LARGE, None, 1.0, []) == down_choice(job(auto), LARGE, None, 1.0, [])


def test_a_commit_that_all_use_may_be_denser_than_an_update() -> None:
    auto = job(Recipe(0.1, 16, 20, 0))
    assert up_choice(auto, SIZE, 16_000, 1.5, []).codec == "stc:0.05"
    assert down_choice(auto, SIZE, 16_000, 1.5, []).codec == "stc:0.1"


def test_nonsense_is_refused() -> None:
    for goodput, compute_s in ((math.nan, 1.0), (1.0, math.nan), (-1.0, 1.0)):
        with pytest.raises(CodecError):
            choose(SIZE, goodput, compute_s)


def job(recipe: Recipe, stop: StopRule = StopRule(target=Target("accuracy", 0.9))) -> Job:  # noqa: B008
    return Job("mnist", b"", recipe, stop, 1, 30.0, b"")


def test_only_a_job_that_ends_by_its_rounds_alone_is_not_time_limited() -> None:
    assert not time_limited(StopRule(rounds=20))
    assert time_limited(StopRule(rounds=20, target=Target("accuracy", 0.95)))
    assert time_limited(StopRule(seconds=60.0))
    assert time_limited(StopRule())


def test_rounds_are_made_the_most_of_where_nothing_else_ends_the_job() -> None:
    recipe = Recipe(0.1, 16, 20, 0)
    rounds = StopRule(rounds=20)
    for goodput in (None, 500.0, 5_000.0, 50_000.0):
        soon, well = (up_choice(job(recipe, stop), SIZE, goodput, 1.0, []) for stop in (StopRule(), rounds))
        assert LADDER.index(well.codec) >= LADDER.index(soon.codec)
        assert well.seconds is None or well.seconds <= 6.0 or well.codec == soon.codec
    assert up_choice(job(recipe, rounds), SIZE, 50_000.0, 1.0, []).codec == "quant8"
    assert up_choice(job(recipe, rounds), SIZE, None, 1.0, []).codec == "quant4"
    assert up_choice(job(recipe, rounds), Message(10_000_000), None, 1.0, []).codec == START


def test_statistics_beside_the_weights_count() -> None:
    """MobileNet-like: at 1 % of 3.5 million weights, most of a message are the statistics of batch norm."""
    bare, full = Message(3_500_000), Message(3_500_000, beside_bytes=68_000)
    assert full.size_bytes("stc:0.01") == bare.size_bytes("stc:0.01") + 68_000
    assert LADDER.index(choose(full, 3_000.0, 60.0).codec) < LADDER.index(choose(bare, 3_000.0, 60.0).codec)


def test_rows_that_nobody_touches_make_room_for_a_denser_message() -> None:
    """An embedding of which three rows in a thousand change."""
    embedding = Message(6_400_000)
    last = [SentMessage("stc:0.02", 5.0, round(0.003 * embedding.size_bytes("stc:0.02")))] * 3
    learnt = embedding.after(last)
    assert learnt.size_bytes("stc:0.1") == pytest.approx(0.003 * embedding.size_bytes("stc:0.1"), rel=0.02)
    assert choose(learnt, 16_000, 1.5, last).codec == "stc:0.05"
    assert choose(embedding, 16_000, 1.5, last).codec == LADDER[0]
    assert embedding.after([SentMessage("stc:0.02", 5.0, embedding.size_bytes("stc:0.02"))]) == embedding
    assert embedding.after([SentMessage("stc:0.02", 5.0)]) == embedding
