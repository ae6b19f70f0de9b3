from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.algorithms import server_step
from muster.algorithms.aggregation import (
    BOOST_MAX,
    Accumulator,
    UpdateMeta,
    accumulate,
    accumulation,
    init,
    weights,
)
from muster.algorithms.merging import mean, merge
from muster.algorithms.precision import BLOCK, add_weighted, to_fp64
from muster.compression import change, parse
from muster.compression.change import difference
from muster.compression.codec import TINY
from muster.compression.model import decode_update, encode_update
from muster.compression.tensors import Layout, TensorError, TensorSpec

LAYOUT = Layout((TensorSpec("w", (4,), "float32"), TensorSpec("n", (), "int64")))


def model(seed: int, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"w": (scale * rng.normal(size=4)).astype(np.float32), "n": np.array(seed, np.int64)}


def finish(
    total: Accumulator,
    base: dict[str, Any],
    server_lr: float = 1.0,
    server_momentum: float = 0.0,
    previous: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The server's step; the state after it holds the base."""
    state = server_step.init(previous)
    params, after = server_step.apply(state, base, total, server_lr, server_momentum=server_momentum)
    assert after.previous is base
    return params


def fold(updates: list[dict[str, Any]], shares: tuple[float, ...]) -> dict[str, Any]:
    state = init(LAYOUT)
    for update, share in zip(updates, shares, strict=True):
        state = accumulate(state, update, share)
    return finish(state, model(0))


def test_equal_work_is_fedavg_by_samples() -> None:
    weighed = weights([UpdateMeta(100, 20), UpdateMeta(300, 20)])
    assert weighed.shares == (0.25, 0.75)
    assert weighed.scale == pytest.approx(1.0)
    assert weighed.tau_eff == 20


def test_a_slow_node_is_normalised_half_of_the_way() -> None:
    """p_i sqrt(tau_eff / tau_i), here tau_eff = 25: a step of the slow node counts twice."""
    weighed = weights([UpdateMeta(100, 40), UpdateMeta(100, 10)])
    fast, slow = (s * weighed.scale for s in weighed.shares)
    assert [fast, slow] == pytest.approx([0.5 * 0.625**0.5, 0.5 * 2.5**0.5])
    assert slow / fast == pytest.approx(2.0)


def test_an_exponent_of_one_is_fednova() -> None:
    """tau_eff * p_i / tau_i, here tau_eff = 25."""
    weighed = weights([UpdateMeta(100, 40), UpdateMeta(100, 10)], exponent=1.0)
    assert [s * weighed.scale for s in weighed.shares] == pytest.approx([0.3125, 1.25])


def test_an_exponent_of_zero_is_fedavg() -> None:
    weighed = weights([UpdateMeta(100, 40), UpdateMeta(300, 10)], exponent=0.0)
    assert weighed.shares == (0.25, 0.75)
    assert weighed.scale == 1.0


def test_normalisation_is_capped() -> None:
    weighed = weights([UpdateMeta(100, 1000), UpdateMeta(100, 1)])
    assert weighed.shares[1] * weighed.scale == pytest.approx(0.5 * BOOST_MAX)


def test_age_discounts() -> None:
    young, old = weights([UpdateMeta(100, 10), UpdateMeta(100, 10, staleness=3)]).shares
    assert old / young == pytest.approx(0.5)


def test_momentum_amounts_to_more_steps() -> None:
    """Against the definition: a_k = sum over later steps of rho^j."""
    for steps, rho in [(1, 0.9), (5, 0.9), (30, 0.5)]:
        by_hand = sum(sum(rho**j for j in range(steps - k)) for k in range(steps))
        assert accumulation(steps, rho) == pytest.approx(by_hand)


@given(
    st.lists(
        st.builds(
            UpdateMeta, st.integers(1, 10**6), st.integers(1, 10**4), st.integers(0, 99), st.floats(0, 0.99)
        ),
        min_size=1,
        max_size=50,
    )
)
def test_shares_sum_to_one(work: list[UpdateMeta]) -> None:
    weighed = weights(work)
    assert sum(weighed.shares) == pytest.approx(1.0)
    assert all(share > 0 for share in weighed.shares)
    assert 0 < weighed.scale <= BOOST_MAX + 1e-9


@pytest.mark.parametrize(
    "work", [[], [UpdateMeta(0, 1)], [UpdateMeta(1, 0)], [UpdateMeta(1, 1, -1)], [UpdateMeta(1, 1, 0, 1.0)]]
)
def test_impossible_work(work: list[UpdateMeta]) -> None:
    with pytest.raises(ValueError):
        weights(work)


def test_fold_is_the_weighted_sum_in_fp64() -> None:
    updates = [model(i, 1e-3) for i in range(1, 9)]
    shares = weights([UpdateMeta(10 * i, 5) for i in range(1, 9)]).shares
    expected = model(0)["w"].astype(np.float64) + sum(
        s * u["w"].astype(np.float64) for s, u in zip(shares, updates, strict=True)
    )
    assert np.array_equal(fold(updates, shares)["w"], expected.astype(np.float32))


def test_fold_needs_the_memory_of_one_model() -> None:
    state = init(LAYOUT)
    held = state.sums["w"]
    for i in range(5):
        state = accumulate(state, model(i), 0.2)
    assert state.sums["w"] is held
    assert state.counted == 5


def test_counters_take_the_rounded_mean() -> None:
    updates = [model(1) | {"n": np.array(10, np.int64)}, model(2) | {"n": np.array(21, np.int64)}]
    result = fold(updates, (0.5, 0.5))
    assert result["n"] == 16
    assert result["n"].dtype == np.int64


def test_statistics_are_averaged_not_extrapolated() -> None:
    layout = Layout((TensorSpec("var", (1,), "float32", learnt=False),))
    base, trained, before = ({"var": np.full(1, x, np.float32)} for x in (1.0, 0.1, 5.0))
    state = accumulate(init(layout), difference(layout, base, trained), 1.0)
    result = finish(state, base, 2.0, server_momentum=0.9, previous=before)
    assert result["var"] == pytest.approx(0.1)


def test_late_updates_of_statistics_stay_between_the_nodes_values() -> None:
    """A difference to an older base, added to a newer model, made a variance of -76."""
    layout = Layout((TensorSpec("var", (1,), "float32", learnt=False),))
    old, head, late, now = ({"var": np.full(1, x, np.float32)} for x in (100.0, 12.0, 11.0, 2.0))
    state = accumulate(init(layout), difference(layout, old, late), 0.6)
    state = accumulate(state, difference(layout, head, now), 0.2)
    state = accumulate(state, difference(layout, head, head), 0.2)  # whoever did not change it has no say
    assert finish(state, head)["var"] == pytest.approx((0.6 * 11 + 0.2 * 2) / 0.8)
    state = accumulate(init(layout), difference(layout, head, head), 1.0)
    assert finish(state, head)["var"].tobytes() == head["var"].tobytes()


def test_a_statistic_that_is_not_finite_in_part_is_refused() -> None:
    layout = Layout((TensorSpec("var", (2,), "float32", learnt=False),))
    with pytest.raises(TensorError, match="var"):
        accumulate(init(layout), {"var": np.array([1.0, np.nan], np.float32)}, 1.0)
    with pytest.raises(TensorError, match="var"):  # in a model it means nothing
        finish(init(layout), {"var": np.full(2, np.nan, np.float32)})


def test_rate_and_momentum() -> None:
    state = accumulate(init(LAYOUT), model(1), 1.0)
    base, before = model(2), model(3)
    result = finish(state, base, 0.5, server_momentum=0.9, previous=before)
    w = {k: v["w"].astype(np.float64) for k, v in {"u": model(1), "b": base, "p": before}.items()}
    assert np.array_equal(result["w"], (w["b"] + 0.5 * w["u"] + 0.9 * (w["b"] - w["p"])).astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 6])
def test_what_is_not_finite_is_found_wherever_it_lies(value: float, at: int) -> None:
    layout = Layout((TensorSpec("w", (2 * BLOCK + 7,), "float32"),))
    update = np.ones(2 * BLOCK + 7, np.float32)
    accumulate(init(layout), {"w": update}, 0.5)
    update[at] = value
    with pytest.raises(TensorError, match="'w' holds values that are not finite"):
        accumulate(init(layout), {"w": update}, 0.5)


def test_an_overflow_is_reported() -> None:
    state = accumulate(init(LAYOUT), model(1) | {"w": np.full(4, 3e38, np.float32)}, 1.0)
    with pytest.raises(TensorError, match="not finite"):
        finish(state, model(2), 10.0)


@given(st.floats(0, 1))
def test_merge_lies_between(alpha: float) -> None:
    a, b = model(1), model(2)
    one = merge(LAYOUT, a, b, alpha)["w"]
    assert np.all(one >= np.minimum(a["w"], b["w"]))
    assert np.all(one <= np.maximum(a["w"], b["w"]))
    assert np.array_equal(merge(LAYOUT, a, a, alpha)["w"], a["w"])


def test_merge_ends() -> None:
    a, b = model(1), model(2)
    assert np.array_equal(merge(LAYOUT, a, b, 1.0)["w"], a["w"])
    assert np.array_equal(merge(LAYOUT, a, b, 0.0)["w"], b["w"])
    with pytest.raises(ValueError):
        merge(LAYOUT, a, b, 1.5)


WHOLE = ("bool", "uint8", "int8", "int16", "int32", "int64")


def ends(dtype: str) -> list[Any]:
    if dtype == "bool":
        return [False, True]
    info = np.iinfo(dtype)
    reach = min(int(info.max), 2**53)  # of a change; int64 goes on beyond it, in steps of two and more
    return [info.min, info.min + reach, 0, 1, info.max - reach, info.max]


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("weight", [1.0, 0.7])
def test_one_nodes_integers_and_truth_values_arrive_exactly_at_both_ends(dtype: str, weight: float) -> None:
    """Update, wire, fold, commit, wire, model: what the node had is what every node has."""
    pairs = [
        (a, b) for a in ends(dtype) for b in ends(dtype) if dtype != "int64" or abs(int(a) - int(b)) <= 2**53
    ]
    layout = Layout(
        (TensorSpec("w", (2,), "float32"), TensorSpec("buffer", (len(pairs),), dtype, learnt=False))
    )
    base = {"w": np.zeros(2, np.float32), "buffer": np.array([a for a, _ in pairs], dtype)}
    node = {"w": np.ones(2, np.float32), "buffer": np.array([b for _, b in pairs], dtype)}
    codec = parse("dense32")
    update = decode_update(layout, encode_update(codec, layout, difference(layout, base, node)))
    folded = finish(accumulate(init(layout), update, weight), base, 1.0)
    assert folded["buffer"].tolist() == node["buffer"].tolist()
    delta = decode_update(layout, encode_update(codec, layout, difference(layout, base, folded)))
    assert change.add(layout, base, delta)["buffer"].tolist() == node["buffer"].tolist()


def test_truth_values_go_with_the_weight_and_stay_at_a_tie() -> None:
    layout = Layout((TensorSpec("mask", (2,), "bool", learnt=False),))
    base, other = {"mask": np.array([True, False])}, {"mask": np.array([False, True])}
    for share, result in ((0.6, other), (0.5, base), (0.4, base)):
        total = accumulate(init(layout), difference(layout, base, other), share)
        total = accumulate(total, difference(layout, base, base), 1 - share)
        assert finish(total, base)["mask"].tolist() == result["mask"].tolist()
        assert merge(layout, other, base, share)["mask"].tolist() == (
            other["mask"].tolist() if share >= 0.5 else base["mask"].tolist()
        )


def test_changes_from_elsewhere_stop_at_the_ends_of_the_range() -> None:
    layout = Layout((TensorSpec("histogram", (2,), "uint8", learnt=False),))
    there = {"histogram": np.array([10, 200], np.uint8)}
    moved = difference(layout, there, {"histogram": np.array([210, 0], np.uint8)})
    result = finish(accumulate(init(layout), moved, 1.0), {"histogram": np.array([100, 100], np.uint8)})
    assert result["histogram"].tolist() == [255, 0]


def test_a_merge_keeps_large_integers_that_both_sides_have() -> None:
    layout = Layout((TensorSpec("n", (2,), "int64", learnt=False),))
    a, b = ({"n": np.array([2**62 + 1, 2**62 + d], np.int64)} for d in (1, 5))
    assert merge(layout, a, b, 0.25)["n"].tolist() == [2**62 + 1, 2**62 + 4]
    assert merge(layout, a, b, 0.0)["n"].tolist() == b["n"].tolist()


def test_what_a_processor_may_flush_to_zero_counts_as_zero() -> None:
    """By value: denormal numbers (below 2**-126) in what comes in do not show, and none comes out."""
    layout = Layout((TensorSpec("w", (3,), "float32"),))
    small = np.array([2.0**-130, -(2.0**-140), 2.0**-101], np.float32)
    zero, some = np.zeros(3, np.float32), np.array([2.0**-99, 1.0, -0.0], np.float32)
    for alpha in (0.0, 0.3, 1.0):
        merged = merge(layout, {"w": some}, {"w": small}, alpha)["w"]
        assert merged.tobytes() == merge(layout, {"w": some}, {"w": zero}, alpha)["w"].tobytes()
        assert ((merged == 0) | (np.abs(merged) >= TINY)).all()
    for update, base, before in ((small, zero, zero), (zero, small, zero), (zero, zero, small)):
        state = accumulate(init(layout), {"w": update}, 1.0)
        result = finish(state, {"w": base}, 1.0, server_momentum=0.9, previous={"w": before})
        assert result["w"].tobytes() == zero.tobytes()


def test_a_denormal_number_does_not_tip_a_rounding() -> None:
    """Three quarters of `even` lie halfway between two fp32 numbers: anything added would round it up."""
    layout = Layout((TensorSpec("w", (1,), "float32"),))
    even, small, zero = (
        {"w": np.array([x], np.float32)} for x in (2.0**-98 * (1 + 3 * 2**-23), 2.0**-127, 0)
    )
    assert merge(layout, even, small, 0.75) == merge(layout, even, zero, 0.75)
    assert (
        np.float32(0.75 * float(even["w"][0]) + 0.25 * float(small["w"][0]))
        != merge(layout, even, zero, 0.75)["w"]
    )
    state = accumulate(init(layout), even, 0.75)
    assert finish(state, small) == finish(state, zero)
    state = accumulate(accumulate(init(layout), small, 0.25), even, 0.75)
    assert finish(state, zero) == merge(layout, even, zero, 0.75)


def test_the_mean_of_models_is_plain_and_counters_are_the_first_ones() -> None:
    found = mean(LAYOUT, (model(seed) for seed in (3, 1, 2)))
    expected = np.mean([model(seed)["w"].astype(np.float64) for seed in (3, 1, 2)], axis=0)
    assert np.allclose(found["w"], expected)
    assert found["w"].dtype == np.float32
    assert found["n"] == 3
    with pytest.raises(ValueError):
        mean(LAYOUT, [])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8"])
def test_blocks_add_what_whole_tensors_add(dtype: str) -> None:
    rng = np.random.default_rng(2)
    array = (rng.normal(size=(3, BLOCK // 2)) * 100).astype(dtype)
    array[0, 0], array[2, 7] = 0, -0.0
    if np.issubdtype(array.dtype, np.floating):
        array[1, 3], array[2, 5], array[0, 9] = 2.0**-101, -(2.0**-110), 2.0**-100
    elif dtype == "int64":
        array[1, 3] = -(2**63)
    total = rng.normal(size=array.shape)
    whole = total + to_fp64(array) * 0.3 if dtype != "int64" else total + array.astype(np.float64) * 0.3
    add_weighted(total, array, 0.3)
    assert total.tobytes() == whole.tobytes()
