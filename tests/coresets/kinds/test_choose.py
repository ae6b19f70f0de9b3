"""What the sender spends a byte budget on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import Data, data_sets
from numpy.typing import NDArray
from sklearn.datasets import load_iris

from muster.coresets import choose as module
from muster.coresets.choose import choose, filled
from muster.coresets.coding.codec import decode, encode
from muster.coresets.coreset import Coreset
from muster.coresets.kinds.centres import SAMPLES_MIN
from muster.coresets.scores import losses, spacing
from muster.coresets.spaces import default_space
from muster.learning.digits import load


def chosen(data: Data, budget_bytes: int, means_only: bool = False, seed: int = 0) -> Coreset:
    x, y = data
    return choose(x, y, budget_bytes, default_space(x, y), means_only, np.random.default_rng(seed))


def digits(*classes: int) -> Data:
    x, y = load()
    kept = np.isin(y, classes)
    return x[kept], y[kept]


def strokes(count: int) -> Data:
    """Images of 16 x 16 that are black or white but for their edges, as handwriting is; two classes."""
    rng = np.random.default_rng(5)
    y = rng.integers(2, size=count)
    at, width, slope = rng.uniform(5, 10, count), rng.uniform(1, 3, count), rng.uniform(-0.4, 0.4, count)
    rows, columns = np.mgrid[:16, :16]
    across = np.where(y[:, None, None] == 0, columns, rows)
    along = np.where(y[:, None, None] == 0, rows, columns)
    away = np.abs(across - at[:, None, None] - slope[:, None, None] * (along - 8))
    return np.clip(3 * (width[:, None, None] - away) + 0.5, 0, 1).astype(np.float32), y.astype(np.int64)


@settings(max_examples=15)
@given(data_sets(), st.integers(0, 1500), st.booleans(), st.integers(0, 2**32 - 1))
def test_any_data_keeps_to_any_budget_and_travels(
    data: Data, budget: int, means_only: bool, seed: int
) -> None:
    found = chosen(data, budget, means_only, seed)
    if means_only:
        assert found.kind == "means"
        assert (found.weights >= SAMPLES_MIN).all()
    if not len(found):
        return
    message = encode(found)
    assert len(message) <= budget
    assert len(found) <= len(data[0])
    space = default_space(*data)
    assert np.array_equal(decode(message, space, samples_max=100).inputs().shape, found.inputs().shape)
    assert encode(chosen(data, budget, means_only, seed)) == message


@pytest.mark.parametrize("classes", [(0,), (8,), (3, 8), tuple(range(10))])
def test_digits_want_two_bits(classes: tuple[int, ...]) -> None:
    found = chosen(digits(*classes), 150 * len(classes))
    assert found.bits == 2
    assert 0.85 * 150 * len(classes) < len(encode(found)) <= 150 * len(classes)


def test_what_is_best_by_chance_is_not_chosen() -> None:
    """Of 357 digits some numbers of bits predict the held-out ones better by luck, in another draw others."""
    assert [chosen(digits(3, 8), 300, seed=seed).bits for seed in range(5)] == [2] * 5


@pytest.mark.parametrize("guess", [1, 10_000])
def test_a_budget_is_nearly_filled_and_never_exceeded_whatever_is_guessed_first(guess: int) -> None:
    x, y = digits(3, 8)
    for budget in range(100, 1000, 60):
        found = filled(x, y, "samples", 2, guess, budget, default_space(x, y), 0)
        assert 0.8 * budget < len(encode(found)) <= budget


def test_strokes_want_one_bit_whether_there_are_two_classes_or_one() -> None:
    x, y = strokes(600)
    assert chosen((x, y), 800).bits == 1
    assert chosen((x[y == 0], y[y == 0]), 800).bits == 1


def test_grey_images_want_more_bits_than_strokes() -> None:
    """One class: how near the samples lie to each other must tell."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 16)
    x = (rng.random((400, 1, 1)) * ramp[:, None] + rng.random((400, 1, 1)) * ramp).astype(np.float32)
    assert chosen((x, np.zeros(400, np.int64)), 3000).bits >= 4


def test_a_table_of_numbers_keeps_what_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).random((600, 3)).astype(np.float32)
    y = x[:, 0] + 2 * x[:, 1] * x[:, 2]
    space = default_space(x, y)

    def lost() -> float:
        found = [chosen((x[::2], y[::2]), 300, seed=seed) for seed in range(3)]
        return float(np.mean([losses(made, x[1::2], y[1::2], space).mean() for made in found]))

    free = lost()
    monkeypatch.setattr(module, "BITS", (1,))
    assert free < 0.5 * lost()


def test_the_kind_goes_by_the_data_and_by_how_many_fit() -> None:
    x, y = load_iris(return_X_y=True)
    assert chosen((x.astype(np.float32), y), 200).kind == "robust"
    assert chosen(digits(3, 8), 150).kind == "medoids"
    assert chosen(digits(3, 8), 600).kind == "samples"


def test_more_than_a_message_may_have_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.VALUE_BITS_MAX, "image", 64 * 2 * 130)
    assert len(chosen(digits(0), 100_000)) == 130


def test_a_budget_above_all_samples_is_not_filled_with_bits() -> None:
    found = chosen(digits(0), 100_000)
    assert (len(found), found.bits) == (178, 2)


def test_spacing_is_to_the_nearest_of_the_class() -> None:
    x: NDArray[np.float32] = np.asarray([[0.0], [4.0], [5.0], [10.0]], np.float32)
    y = np.asarray([0, 0, 1, 1])
    assert spacing(x, y, default_space(x, y)) == pytest.approx((0.16 + 0.16 + 0.25 + 0.25) / 4)
    assert spacing(x, np.arange(4), default_space(x, y)) == pytest.approx((0.16 + 0.01 + 0.01 + 0.25) / 4)
    assert spacing(x[:1], y[:1], default_space(x, y)) == 0


def test_large_images_are_probed_with_few_and_of_too_large_ones_none_is_sent() -> None:
    x = np.zeros((3, 1, 150, 150), np.float32)
    x[:, 0, :100, :50] = np.random.default_rng(0).random((3, 100, 50))
    assert len(chosen((x, np.arange(3)), 20_000)) == 3
    huge = np.broadcast_to(np.float32(0), (2, 1, 2100, 2100))
    assert len(chosen((huge, np.zeros(2, np.int64)), 1 << 20)) == 0
