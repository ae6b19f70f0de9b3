from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.compression.tensors import Layout, TensorError, TensorSpec
from muster.learning.aggregate import BOOST_MAX, Work, accumulation, add, fault, finish, merge, start, weights

LAYOUT = Layout((TensorSpec("w", (4,), "float32"), TensorSpec("n", (), "int64")))


def model(seed: int, scale: float = 1.0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"w": (scale * rng.normal(size=4)).astype(np.float32), "n": np.array(seed, np.int64)}


def fold(updates: list[dict[str, Any]], shares: tuple[float, ...]) -> dict[str, Any]:
    state = start(LAYOUT)
    for update, share in zip(updates, shares, strict=True):
        state = add(state, update, share)
    return finish(state, model(0))


def test_equal_work_is_fedavg_by_samples() -> None:
    weighed = weights([Work(100, 20), Work(300, 20)])
    assert weighed.shares == (0.25, 0.75)
    assert weighed.scale == pytest.approx(1.0)
    assert weighed.tau_eff == 20


def test_a_slow_node_is_normalised() -> None:
    """FedNova: tau_eff * p_i / tau_i, here tau_eff = 25."""
    weighed = weights([Work(100, 40), Work(100, 10)])
    assert [s * weighed.scale for s in weighed.shares] == pytest.approx([0.3125, 1.25])


def test_normalisation_is_capped() -> None:
    weighed = weights([Work(100, 1000), Work(100, 1)])
    assert weighed.shares[1] * weighed.scale == pytest.approx(0.5 * BOOST_MAX)


def test_age_discounts() -> None:
    young, old = weights([Work(100, 10), Work(100, 10, staleness=3)]).shares
    assert old / young == pytest.approx(0.5)


def test_momentum_amounts_to_more_steps() -> None:
    """Against the definition: a_k = sum over later steps of rho^j."""
    for steps, rho in [(1, 0.9), (5, 0.9), (30, 0.5)]:
        by_hand = sum(sum(rho**j for j in range(steps - k)) for k in range(steps))
        assert accumulation(steps, rho) == pytest.approx(by_hand)


@given(
    st.lists(
        st.builds(Work, st.integers(1, 10**6), st.integers(1, 10**4), st.integers(0, 99), st.floats(0, 0.99)),
        min_size=1,
        max_size=50,
    )
)
def test_shares_sum_to_one(work: list[Work]) -> None:
    weighed = weights(work)
    assert sum(weighed.shares) == pytest.approx(1.0)
    assert all(share > 0 for share in weighed.shares)
    assert 0 < weighed.scale <= BOOST_MAX + 1e-9


@pytest.mark.parametrize("work", [[], [Work(0, 1)], [Work(1, 0)], [Work(1, 1, -1)], [Work(1, 1, 0, 1.0)]])
def test_impossible_work(work: list[Work]) -> None:
    with pytest.raises(ValueError):
        weights(work)


def test_fold_is_the_weighted_sum_in_fp64() -> None:
    updates = [model(i, 1e-3) for i in range(1, 9)]
    shares = weights([Work(10 * i, 5) for i in range(1, 9)]).shares
    expected = model(0)["w"].astype(np.float64) + sum(
        s * u["w"].astype(np.float64) for s, u in zip(shares, updates, strict=True)
    )
    assert np.array_equal(fold(updates, shares)["w"], expected.astype(np.float32))


def test_fold_needs_the_memory_of_one_model() -> None:
    state = start(LAYOUT)
    held = state.sums["w"]
    for i in range(5):
        state = add(state, model(i), 0.2)
    assert state.sums["w"] is held
    assert state.counted == 5


def test_counters_take_the_rounded_mean() -> None:
    updates = [model(1) | {"n": np.array(10, np.int64)}, model(2) | {"n": np.array(21, np.int64)}]
    result = fold(updates, (0.5, 0.5))
    assert result["n"] == 16
    assert result["n"].dtype == np.int64


def test_statistics_are_averaged_not_extrapolated() -> None:
    layout = Layout((TensorSpec("running_var", (1,), "float32", learnt=False),))
    base = {"running_var": np.ones(1, np.float32)}
    state = add(start(layout), {"running_var": np.full(1, -0.9, np.float32)}, 1.0)
    before = {"running_var": np.full(1, 5, np.float32)}
    result = finish(state, base, 2.0, server_momentum=0.9, previous=before)
    assert result["running_var"] == pytest.approx(0.1)


def test_rate_and_momentum() -> None:
    state = add(start(LAYOUT), model(1), 1.0)
    base, before = model(2), model(3)
    result = finish(state, base, 0.5, server_momentum=0.9, previous=before)
    w = {k: v["w"].astype(np.float64) for k, v in {"u": model(1), "b": base, "p": before}.items()}
    assert np.array_equal(result["w"], (w["b"] + 0.5 * w["u"] + 0.9 * (w["b"] - w["p"])).astype(np.float32))


def test_an_invalid_update_leaves_the_fold_as_it_was() -> None:
    state = add(start(LAYOUT), model(1), 0.5)
    before = state.sums["w"].copy()
    bad = model(2)
    bad["w"][3] = np.inf
    assert "not finite" in (fault(LAYOUT, bad) or "")
    assert fault(LAYOUT, model(2)) is None
    with pytest.raises(TensorError):
        add(state, bad, 0.5)
    assert np.array_equal(state.sums["w"], before)


def test_an_overflow_is_reported() -> None:
    state = add(start(LAYOUT), model(1) | {"w": np.full(4, 3e38, np.float32)}, 1.0)
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
