"""Which channels stay: by magnitude, and by both branches where they were pruned apart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from made_up_models import drawn_shape, made_up, seeds
from muster.algorithms.merging import merge
from muster.algorithms.slimming.carrying import layout_of, narrow
from muster.algorithms.slimming.joining import joined_shape, mean_of_holders
from muster.algorithms.slimming.magnitude import by_magnitude, scores
from muster.algorithms.slimming.shape import Shape, kept_of, whole
from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.compression.tensors import Layout, TensorError, TensorSpec, check

PAIR = Structure((Group(3, (Slot("in", 0), Slot("bias", 0), Slot("out", 1))),))


def test_a_channel_counts_by_all_weights_that_make_or_read_it() -> None:
    arrays = {
        "in": np.array([[1.0, -2.0], [0.5, 0.5], [3.0, 0.0]]),
        "bias": np.array([99.0, 99.0, 0.0]),  # vectors do not count
        "out": np.array([[0.0, -4.0, 0.25]]),
    }
    [found] = scores(arrays, PAIR, whole(PAIR))
    assert (found * 2.0**-24).tolist() == [3.0, 5.0, 3.25]
    assert by_magnitude(arrays, PAIR, 0.67, whole(PAIR)) == Shape(((1, 2),))
    same = {"in": np.ones((3, 2)), "out": np.ones((1, 3))}
    assert by_magnitude(same, PAIR, 0.67, whole(PAIR)) == Shape(((0, 1),))


@given(seeds, seeds)
@settings(max_examples=40, deadline=None)
def test_scores_are_the_same_whatever_shape_holds_the_channel(seed: int, drawn: int) -> None:
    """As far as the weights are: those to channels that went are not counted."""
    model = made_up(seed)
    shape = drawn_shape(model.structure, drawn)
    absent = {
        name: array * np.asarray(narrow_mask(model.structure, name, array.shape, shape), array.dtype)
        for name, array in model.arrays.items()
    }
    of_small = scores(narrow(model.arrays, model.structure, shape), model.structure, shape)
    of_masked = scores(absent, model.structure, whole(model.structure))
    for number, (a, b) in enumerate(zip(of_small, of_masked, strict=True)):
        kept = list(shape.kept[number])
        assert np.array_equal(a[kept], b[kept])
        assert a.sum() == a[kept].sum()


def narrow_mask(structure: Structure, name: str, size: tuple[int, ...], shape: Shape) -> np.ndarray:
    mask = np.ones(size)
    for axis, placed in structure.axes.get(name, {}).items():
        for number, slot in placed:
            for channel in range(structure.groups[number].size):
                if channel not in shape.kept[number]:
                    begin = slot.start + channel * slot.block
                    mask[(slice(None),) * axis + (slice(begin, begin + slot.block),)] = 0
    return mask


@given(seeds)
@settings(max_examples=40, deadline=None)
def test_a_width_is_of_the_whole_model_and_can_be_gone_down_to_in_steps(seed: int) -> None:
    model = made_up(seed)
    half = by_magnitude(model.arrays, model.structure, 0.5, whole(model.structure))
    assert [len(k) for k in half.kept] == [kept_of(g.size, 0.5) for g in model.structure.groups]
    small = narrow(model.arrays, model.structure, half)
    quarter = by_magnitude(small, model.structure, 0.25, half)
    assert quarter.within(half)
    assert [len(k) for k in quarter.kept] == [kept_of(g.size, 0.25) for g in model.structure.groups]
    assert by_magnitude(small, model.structure, 0.75, half) == half


def test_branches_that_pruned_apart_keep_the_channels_that_both_together_have_the_most_of() -> None:
    a, shape_a = {"in": np.array([[5.0], [2.0]]), "out": np.array([[0.0, 0.0]])}, Shape(((0, 1),))
    b, shape_b = {"in": np.array([[3.0], [4.0]]), "out": np.array([[0.0, 0.0]])}, Shape(((1, 2),))
    assert joined_shape(PAIR, a, shape_a, b, shape_b) == Shape(((0, 1),))  # 5, 2 + 3, 4
    assert joined_shape(PAIR, b, shape_b, a, shape_a) == Shape(((0, 1),))
    unpruned = {"in": np.array([[1.0], [1.0], [9.0]]), "out": np.zeros((1, 3))}
    assert joined_shape(PAIR, a, shape_a, unpruned, whole(PAIR)) == Shape(((0, 2),))  # as few as `a`


def test_a_weight_that_one_branch_alone_has_is_not_halved() -> None:
    layout = Layout((TensorSpec("in", (3, 1), "float32"), TensorSpec("out", (1, 3), "float32")))
    a = {"in": np.array([[1], [2]], np.float32), "out": np.array([[10, 20]], np.float32)}
    b = {"in": np.array([[4], [8]], np.float32), "out": np.array([[40, 80]], np.float32)}
    found = mean_of_holders(layout, PAIR, a, Shape(((0, 1),)), b, Shape(((1, 2),)), 0.25, whole(PAIR))
    assert found["in"].tolist() == [[1], [0.25 * 2 + 0.75 * 4], [8]]
    assert found["out"].tolist() == [[10, 0.25 * 20 + 0.75 * 40, 80]]


@given(seeds, seeds, seeds)
@settings(max_examples=40, deadline=None)
def test_a_merge_of_shapes_is_a_model_of_its_shape_and_the_plain_mean_where_both_have_all(
    seed: int, first: int, second: int
) -> None:
    model, other = made_up(seed), made_up(seed)
    b = {name: np.asarray(array + 1).astype(array.dtype) for name, array in other.arrays.items()}
    shape_a, shape_b = drawn_shape(model.structure, first), drawn_shape(model.structure, second)
    small_a, small_b = narrow(model.arrays, model.structure, shape_a), narrow(b, model.structure, shape_b)
    target = joined_shape(model.structure, small_a, shape_a, small_b, shape_b)
    target.check(model.structure)
    found = mean_of_holders(model.layout, model.structure, small_a, shape_a, small_b, shape_b, 0.3, target)
    check(layout_of(model.layout, model.structure, target), found)
    common = mean_of_holders(model.layout, model.structure, small_a, shape_a,
                             narrow(b, model.structure, shape_a), shape_a, 0.3, shape_a)  # fmt: skip
    plain = merge(
        layout_of(model.layout, model.structure, shape_a), small_a, narrow(b, model.structure, shape_a), 0.3
    )
    assert all(np.array_equal(common[name], plain[name]) for name in plain)


def test_a_model_of_another_shape_is_refused() -> None:
    model = made_up(3)
    half = by_magnitude(model.arrays, model.structure, 0.5, whole(model.structure))
    assert half != whole(model.structure)
    wrong = {"alone": model.arrays["alone"]}
    with pytest.raises(TensorError):
        mean_of_holders(model.layout, model.structure, wrong, half, wrong, half, 0.5, half)
