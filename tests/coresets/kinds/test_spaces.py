"""The space that data without a declared one gets, and levels in it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_data import Data, data_sets

from muster.coresets.coreset import Coreset
from muster.coresets.spaces import default_space, levels, unfit

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ((28, 28), "image"), ((1, 8, 8), "image"), ((3, 32, 24), "image"), ((784,), "table"),
        ((128, 9), "table"), ((50, 3), "table"), ((2, 2, 16, 16), "table"), ((7, 7), "table"),
    ],
)  # fmt: skip
def test_what_looks_like_an_image(shape: tuple[int, ...], kind: str) -> None:
    assert default_space(RNG.normal(size=(5, *shape)).astype(np.float32), np.zeros(5, np.int64)).kind == kind


def test_unlike_columns_have_a_range_each_and_like_ones_share_one() -> None:
    x = RNG.random((300, 4)).astype(np.float32)
    assert default_space(x, np.zeros(300, np.int64)).low.size == 1
    space = default_space(x * np.float32([1, 10, 1000, 1]) - 5, np.zeros(300, np.int64))
    assert space.low == pytest.approx([-5] * 4, abs=9)
    assert space.high == pytest.approx([-4, 5, 995, -4], abs=9)
    assert space.high[[0, 3]] == pytest.approx([-4, -4], abs=0.1)
    signal = default_space(x.reshape(30, 40, 1) * np.float32([1, 100]), np.zeros(30, np.int64))
    assert signal.low.shape == (2,)  # a range a channel, not one for each moment of it


def test_a_value_far_out_does_not_take_the_levels_of_all_others() -> None:
    x = np.column_stack([RNG.random(1000), 100 * RNG.random(1000), RNG.random(1000) / 100]).astype(np.float32)
    x[3, 0] = 1e6
    space = default_space(x, np.zeros(1000, np.int64))
    assert space.high[0] < 2.1
    assert len(np.unique(levels(x, space, 4)[:, 0])) >= 8


def test_standardised_columns_share_a_range_though_some_have_rare_values_far_out() -> None:
    x = RNG.normal(size=(500, 20)).astype(np.float32)
    x[:, 3:6] = np.where(RNG.random((500, 3)) < 0.002, 22, 0)
    space = default_space(x, np.zeros(500, np.int64))
    assert space.low.size == 1
    assert -4.5 < space.low[0] < -2.5
    assert 2.5 < space.high[0] < 5.5


def test_a_column_of_rare_values_keeps_them() -> None:
    x = np.column_stack([np.zeros(1000), 100 * RNG.random(1000)]).astype(np.float32)
    x[:3, 0] = 1
    assert default_space(x, np.zeros(1000, np.int64)).high[0] == 1


@settings(max_examples=60)
@given(data_sets(), st.integers(1, 8))
def test_levels_are_the_nearest_ones(data: Data, bits: int) -> None:
    x, y = data
    space = default_space(x, y)
    assert (space.high > space.low).all()
    made = Coreset(space, "samples", bits, levels(x, space, bits), y, np.ones(len(x), np.float32))
    inside = np.clip(x, space.low, space.high).astype(np.float64)
    step = (space.high.astype(np.float64) - space.low) / ((1 << bits) - 1)
    rounding = 4e-7 * np.maximum(np.abs(space.low), np.abs(space.high))
    assert (np.abs(made.inputs() - inside) <= step * 0.501 + rounding).all()


def test_classes_are_those_of_the_task_or_the_largest_label() -> None:
    x = np.zeros((3, 2), np.float32)
    assert default_space(x, np.asarray([0, 4, 2])).classes == 5
    assert default_space(x, np.asarray([0, 4, 2]), classes=10).classes == 10
    assert default_space(x, np.zeros(3, np.float32), classes=10).classes == 0
    assert default_space(x[:0], np.zeros(0, np.int64)).classes == 1


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.zeros(3), np.zeros(3), "inputs are an array of shape (3,)"),
        (np.zeros((3, 2)), np.zeros((3, 2)), "targets have shape (3, 2)"),
        (np.zeros((3, 0)), np.zeros(3), "no inputs"),
        (np.zeros((2, 2)), np.asarray([0, -1]), "from -1 to 0"),
        (np.zeros((2, 2)), np.asarray([0, 70_000]), "from 0 to 70000"),
        (np.full((2, 2), np.nan), np.zeros(2), "no numbers"),
        (np.full((2, 2), -2e30), np.zeros(2), "above 1e+30"),
        (np.zeros((2, 2)), np.asarray([0, np.inf]), "no numbers"),
        (np.zeros((2, 2), object), np.zeros(2), "type object"),
        (np.zeros((2, 2)), np.asarray(["a", "b"]), "of type"),
    ],
)  # fmt: skip
def test_what_no_coreset_can_be_made_of(x: np.ndarray, y: np.ndarray, says: str) -> None:
    assert says in (unfit(x, y) or "")


@settings(max_examples=20)
@given(data_sets())
def test_all_else_is_fit(data: Data) -> None:
    assert unfit(*data) is None
