"""What every kind keeps to, whatever the data; and what only means promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import Data, data_sets

from muster.coresets.coreset import KINDS as NAMES
from muster.coresets.coreset import Coreset
from muster.coresets.kinds.centres import SAMPLES_MIN, means
from muster.coresets.kinds.make import KINDS, make, usual_kind
from muster.coresets.kinds.summary import shares
from muster.coresets.spaces import default_space, levels

SEEDS = st.integers(0, 2**32 - 1)


def made(kind: str, data: Data, count: int, bits: int, seed: int) -> Coreset:
    x, y = data
    return make(kind, x, y, count, default_space(x, y), bits, np.random.default_rng(seed))


def same(one: Coreset, other: Coreset) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("levels", "labels", "weights")
    )


def test_kinds_have_the_names_of_coresets() -> None:
    assert set(KINDS) == set(NAMES)


@settings(max_examples=150)
@given(st.sampled_from(NAMES), data_sets(), st.integers(0, 100), st.integers(1, 8), SEEDS)
def test_any_data_becomes_a_coreset(kind: str, data: Data, count: int, bits: int, seed: int) -> None:
    x, y = data
    found = made(kind, data, count, bits, seed)
    assert found.kind == kind
    assert len(found) <= min(count, len(x))
    assert len(found.levels) == len(found.labels) == len(found.weights)
    assert found.levels.shape[1:] == x.shape[1:]
    assert found.levels.dtype == np.uint8
    assert found.weights.dtype == np.float32
    assert found.levels.max(initial=0) < 1 << bits
    assert (found.weights >= (SAMPLES_MIN if kind == "means" else 1)).all()
    assert np.isfinite(found.inputs()).all()
    assert same(found, made(kind, data, count, bits, seed))
    if y.dtype.kind == "f":
        assert found.labels.dtype == np.float32
        least = len(x) if count and (kind != "means" or len(x) >= SAMPLES_MIN) else 0
        assert found.weights.sum() == pytest.approx(least, rel=1e-5)
        return
    sizes = np.bincount(y, minlength=1)
    sums = np.bincount(found.labels, found.weights, len(sizes))
    assert np.array_equal(np.sort(found.labels), found.labels)
    for size, weight in zip(
        sizes, sums, strict=True
    ):  # a class is there with all of its weight, or not at all
        assert weight == pytest.approx(size, rel=1e-5) or weight == 0
    fit = sizes >= (SAMPLES_MIN if kind == "means" else 1)
    assert np.count_nonzero(sums) == min(count, fit.sum())


@settings(max_examples=40)
@given(st.sampled_from(("samples", "medoids")), data_sets(), st.integers(1, 40), SEEDS)
def test_samples_and_medoids_are_real_ones_with_their_labels(
    kind: str, data: Data, count: int, seed: int
) -> None:
    x, y = data
    space = default_space(x, y)
    real = {(row.tobytes(), label) for row, label in zip(levels(x, space, 8), y.tolist(), strict=True)}
    found = made(kind, data, count, 8, seed)
    assert {
        (r.tobytes(), label) for r, label in zip(found.levels, found.labels.tolist(), strict=True)
    } <= real


@settings(max_examples=60)
@given(data_sets(200), st.integers(1, 200), SEEDS)
def test_a_mean_is_the_mean_of_at_least_twenty(data: Data, count: int, seed: int) -> None:
    """The weights say so, and the means together are the mean of the classes that are shared."""
    x, y = data
    found = means(x, y, count, default_space(x, y), np.random.default_rng(seed))
    assert (found.weights >= SAMPLES_MIN).all()
    shared = np.isin(y, found.y) if y.dtype.kind == "i" else np.full(len(y), len(found) > 0)
    if shared.any():
        weighted = np.average(found.x.astype(np.float64), axis=0, weights=found.weights)
        assert np.allclose(weighted, x[shared].astype(np.float64).mean(0), rtol=1e-4, atol=1e-5)


def test_of_a_class_below_twenty_no_mean_is_shared() -> None:
    rng = np.random.default_rng(0)
    x, y = (
        rng.normal(size=(59, 3)).astype(np.float32),
        np.repeat([0, 1, 2], (SAMPLES_MIN - 1, SAMPLES_MIN, 20)),
    )
    assert set(made("means", (x, y), 10, 4, 0).labels.tolist()) == {1, 2}


def test_means_do_not_give_away_the_largest_value_of_the_data_by_their_range() -> None:
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    x[17, 1] = 3.75
    found = made("means", (x, np.zeros(200, np.int64)), 5, 4, 0)
    assert found.space.high.max() < 2
    centres = means(
        x, np.zeros(200, np.int64), 5, default_space(x, np.zeros(200, int)), np.random.default_rng(0)
    ).x
    assert np.abs(found.inputs() - centres).max() < (found.space.high - found.space.low).max() / 15


def test_clusters_far_apart_each_get_a_sample() -> None:
    """Medoids and centres cover the data; 1 in 200 samples lies in the smallest cluster."""
    rng = np.random.default_rng(0)
    near = np.repeat(np.arange(5), (100, 50, 30, 19, 1))
    x = (near[:, None] * 10 + rng.normal(0, 0.1, (200, 2))).astype(np.float32)
    for kind in ("medoids", "robust"):
        found = made(kind, (x, np.zeros(200, np.int64)), 5, 8, 1)
        assert sorted(np.rint(found.inputs()[:, 0] / 10).tolist()) == [0, 1, 2, 3, 4]
        assert sorted(found.weights.tolist()) == [1, 19, 30, 50, 100]


def test_numbers_that_inputs_do_not_tell_apart_are_not_averaged() -> None:
    x = np.ones((40, 2), np.float32)
    y = np.repeat([1.0, 5.0], 20).astype(np.float32)
    for kind in ("medoids", "robust", "means"):
        assert sorted(made(kind, (x, y), 2, 4, 0).labels.tolist()) == [1, 5]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=12), st.integers(0, 900), st.integers(1, 20))
def test_shares_go_by_size_and_leave_no_class_out(sizes: list[int], count: int, samples_min: int) -> None:
    each = np.asarray(sizes)
    caps = each // samples_min
    found = shares(each, caps, count)
    assert (found <= caps).all()
    assert (found >= 0).all()
    assert found.sum() == min(count, caps.sum())
    assert np.count_nonzero(found) == min(count, np.count_nonzero(caps))
    if samples_min == 1 and found.sum() == count >= len(sizes):
        fair = each * count / each.sum()
        assert (found <= np.maximum(np.ceil(fair) + 1, 1)).all()


def test_the_usual_kind() -> None:
    images = default_space(np.zeros((1, 1, 8, 8), np.float32), np.zeros(1, np.int64))
    table = default_space(np.zeros((1, 5), np.float32), np.zeros(1, np.int64))
    assert usual_kind(images, 2, 20, False) == "samples"
    assert usual_kind(images, 2, 19, False) == "medoids"
    assert usual_kind(table, 2, 400, False) == "robust"
    assert usual_kind(table, 2, 400, True) == usual_kind(images, 2, 400, True) == "means"
