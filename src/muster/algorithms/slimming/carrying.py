"""Tensors of one shape of a model become those of another: parameters, residuals, optimiser state, updates.

Both shapes are of the same structure, so that what was left out by one shape and what by another need not
have anything to do with each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.shape import Shape, whole
from muster.algorithms.slimming.structure import Placed, Structure
from muster.compression.tensors import Array, Layout

Indices = NDArray[np.int64]


def narrow(arrays: Mapping[str, Array], structure: Structure, shape: Shape) -> dict[str, Array]:
    """What `shape` keeps of the tensors of the whole model."""
    return carry(arrays, structure, whole(structure), shape)


def carry(
    arrays: Mapping[str, Array],
    structure: Structure,
    old: Shape,
    new: Shape,
    missing: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Tensors of the shape `old` as tensors of the shape `new`.

    What `old` has not is taken from `missing` (tensors of the shape `new`), else 0.  Tensors that are in no
    group are passed through.
    """
    return {
        name: _carried(array, structure, name, old, new, None if missing is None else missing[name])
        if name in structure.axes
        else array
        for name, array in arrays.items()
    }


def layout_of(layout: Layout, structure: Structure, shape: Shape) -> Layout:
    """The layout of a model of `shape`; `layout` is the whole model's."""
    gone = [group.size - len(kept) for group, kept in zip(structure.groups, shape.kept, strict=True)]
    specs = []
    for spec in layout.tensors:
        sizes = list(spec.shape)
        for axis, placed in structure.axes.get(spec.name, {}).items():
            sizes[axis] -= sum(slot.block * gone[number] for number, slot in placed)
        specs.append(replace(spec, shape=tuple(sizes)))
    return replace(layout, tensors=tuple(specs))


def kept_indices(length: int, placed: Sequence[Placed], structure: Structure, shape: Shape) -> Indices:
    """The indices of a whole axis that `shape` keeps; those of no group are among them."""
    kept = np.ones(length, np.bool_)
    for number, slot in placed:
        size = structure.groups[number].size
        kept[slot.start : slot.end(size)] = np.repeat(shape.mask(structure, number), slot.block)
    return np.flatnonzero(kept)


def _carried(
    array: Array, structure: Structure, name: str, old: Shape, new: Shape, missing: Array | None
) -> Array:
    holes: list[tuple[int, NDArray[np.bool_]]] = []
    for axis, placed in structure.axes[name].items():
        source = _sources(array.shape[axis], placed, structure, old, new)
        array = array.take(np.maximum(source, 0), axis)
        if (source < 0).any():
            holes.append((axis, source < 0))
    for axis, hole in holes:
        where = (slice(None),) * axis + (hole,)
        array[where] = 0 if missing is None else missing[where]
    return array


def _sources(length: int, placed: Sequence[Placed], structure: Structure, old: Shape, new: Shape) -> Indices:
    """For each index on an axis of the shape `new`, its place on that of `old`; -1: it has none."""
    length += sum(
        slot.block * (structure.groups[number].size - len(old.kept[number])) for number, slot in placed
    )
    places = np.full(length, -1)
    had = kept_indices(length, placed, structure, old)
    places[had] = np.arange(len(had))
    return places[kept_indices(length, placed, structure, new)]
