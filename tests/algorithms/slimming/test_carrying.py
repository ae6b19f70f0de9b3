"""Tensors follow a model's shape: sliced, put back, and carried between shapes that differ both ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from made_up_models import MadeUp, drawn_shape, made_up, seeds
from muster.algorithms.slimming.carrying import carry, layout_of, narrow
from muster.algorithms.slimming.shape import Shape, first, kept_of, whole
from muster.algorithms.slimming.structure import Group, Slot, Structure, StructureError
from muster.compression import tensors
from muster.compression.tensors import Array


def equal(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[n], b[n]) for n in a)


def one_by_one(model: MadeUp, shape: Shape) -> dict[str, Array]:
    """What `narrow` has to give, by looking at each index by itself."""
    found = {}
    for name, array in model.arrays.items():
        for axis in range(array.ndim):
            gone = {
                slot.start + channel * slot.block + i
                for number, group in enumerate(model.structure.groups)
                for slot in group.slots
                if (slot.tensor, slot.axis) == (name, axis)
                for channel in range(group.size)
                if channel not in shape.kept[number]
                for i in range(slot.block)
            }
            array = np.delete(array, sorted(gone), axis)
        found[name] = array
    return found


@given(seeds, seeds)
@settings(max_examples=60, deadline=None)
def test_a_shape_keeps_its_channels_on_every_axis_and_nothing_else_goes(seed: int, drawn: int) -> None:
    model = made_up(seed)
    shape = drawn_shape(model.structure, drawn)
    assert model.structure.fits(model.layout)
    narrowed = narrow(model.arrays, model.structure, shape)
    assert equal(narrowed, one_by_one(model, shape))
    tensors.check(layout_of(model.layout, model.structure, shape), narrowed)


@given(seeds, seeds, seeds)
@settings(max_examples=60, deadline=None)
def test_what_goes_from_shape_to_shape_is_what_both_have(seed: int, a: int, b: int) -> None:
    model = made_up(seed)
    one, other = drawn_shape(model.structure, a), drawn_shape(model.structure, b)
    all_of_it = whole(model.structure)
    small = narrow(model.arrays, model.structure, one)
    wide = carry(small, model.structure, one, all_of_it)
    assert equal(carry(small, model.structure, one, other), narrow(wide, model.structure, other))
    filled = carry(small, model.structure, one, all_of_it, missing=model.arrays)
    assert equal(filled, model.arrays)
    assert equal(carry(small, model.structure, one, one), small)


def test_an_update_of_an_older_shape_keeps_what_the_newer_one_has() -> None:
    structure = Structure((Group(4, (Slot("w", 0), Slot("v", 1, block=2))),))
    update = {"w": np.arange(4.0), "v": np.arange(8.0).reshape(1, 8)}
    old, new = Shape(((0, 2, 3),)), Shape(((0, 1, 3),))
    late = carry(narrow(update, structure, old), structure, old, new)
    assert late["w"].tolist() == [0, 0, 3]
    assert late["v"].tolist() == [[0, 1, 0, 0, 6, 7]]


@given(seeds, seeds)
@settings(max_examples=40, deadline=None)
def test_a_shape_is_read_back_from_its_bytes(seed: int, drawn: int) -> None:
    structure = made_up(seed).structure
    shape = drawn_shape(structure, drawn)
    data = shape.to_bytes(structure)
    assert Shape.from_bytes(structure, data) == shape
    assert Structure.from_plain(structure.to_plain()) == structure
    for wrong in (data + b"\0", data[:-1], b"", bytes(8) + data[8:], data[:8] + bytes(len(data) - 8)):
        with pytest.raises(StructureError):
            Shape.from_bytes(structure, wrong)


def test_bytes_with_bits_behind_the_last_channel_are_refused() -> None:
    structure = Structure((Group(3, (Slot("w", 0),)),))
    assert Shape.from_bytes(structure, structure.digest + b"\xa0") == Shape(((0, 2),))
    with pytest.raises(StructureError, match="behind its last channel"):
        Shape.from_bytes(structure, structure.digest + b"\xa1")


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [[0, [["w", 0, 1, 0]]]],
        [[2, []]],
        [[2, [["w", -1, 1, 0]]]],
        [[2, [["w", 0, 0, 0]]]],
        [[2, [["w", 0, 1, 0], ["w", 0, 1, 1]]]],  # index 1 would be a channel's of both
        [[2, [["w", 0]]]],
        [[70_000, [["w", 0, 1, 0]]]],
    ],
)
def test_a_structure_that_cannot_be_is_refused(plain: object) -> None:
    with pytest.raises(StructureError):
        Structure.from_plain(plain)


@pytest.mark.parametrize(
    ("kept", "size"), [((), 3), (((0,), (1,)), 3), (((),), 3), (((1, 0),), 3), (((0, 3),), 3), (((0, 0),), 3)]
)
def test_a_shape_of_another_structure_is_refused(kept: tuple[tuple[int, ...], ...], size: int) -> None:
    with pytest.raises(StructureError):
        Shape(kept).check(Structure((Group(size, (Slot("w", 0),)),)))


def test_a_structure_fits_only_where_its_axes_are() -> None:
    model = made_up(1)
    shape = first(model.structure, 0.5)
    smaller = layout_of(model.layout, model.structure, shape)
    assert model.structure.fits(model.layout)
    assert smaller == model.layout or not model.structure.fits(smaller)
    assert not Structure((Group(1, (Slot("none", 0),)),)).fits(model.layout)
    assert not Structure((Group(1, (Slot("alone", 2),)),)).fits(model.layout)


def test_half_of_a_group_is_rounded_to_the_nearest_and_never_nothing() -> None:
    assert [kept_of(n, 0.5) for n in (1, 2, 3, 8)] == [1, 1, 2, 4]
    assert kept_of(8, 0.01) == 1
    assert kept_of(7, 1.0) == 7
    for width in (0.0, -1.0, 1.1):
        with pytest.raises(ValueError, match="width"):
            kept_of(8, width)
