"""Which channels to keep: those with the largest weights.

A channel's score is the sum of |w| over all weights that make or read it (Li et al., "Pruning Filters for
Efficient ConvNets", ICLR 2017, arXiv 1608.08710).  It is counted in units of 2**-24 in whole numbers, so that
every node finds the same sum, in whatever order its processor adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.carrying import kept_indices, layout_of
from muster.algorithms.slimming.shape import Shape, kept_of, whole
from muster.algorithms.slimming.structure import Group, Structure, StructureError
from muster.compression.tensors import Array, Layout

Scores = tuple[NDArray[np.int64], ...]  # of each group, of each of its channels

UNIT = 2.0**-24
WEIGHT_MAX = 2.0**14  # larger weights count as this: a channel's score has room for 2**25 of them


def scores(arrays: Mapping[str, Array], structure: Structure, shape: Shape) -> Scores:
    """The score of each channel of a model of `shape`; 0 for channels that it has not.

    Vectors, such as biases and statistics, do not count.
    """
    found = tuple(np.zeros(group.size, np.int64) for group in structure.groups)
    for name, axes in structure.axes.items():
        array = arrays.get(name)
        if array is None or array.ndim < 2:
            continue
        units = np.rint(np.minimum(np.abs(array.astype(np.float64)), WEIGHT_MAX) / UNIT).astype(np.int64)
        for axis, placed in axes.items():
            had = units.sum(axis=tuple(i for i in range(units.ndim) if i != axis))
            gone = sum(
                slot.block * (structure.groups[number].size - len(shape.kept[number]))
                for number, slot in placed
            )
            line = np.zeros(len(had) + gone, np.int64)
            line[kept_indices(len(line), placed, structure, shape)] = had
            for number, slot in placed:
                size = structure.groups[number].size
                found[number][:] += line[slot.start : slot.end(size)].reshape(size, slot.block).sum(1)
    return found


def by_magnitude(arrays: Mapping[str, Array], structure: Structure, width: float, shape: Shape) -> Shape:
    """The shape that keeps the channels with the highest scores of a model of `shape`.

    `width` is a fraction of the whole model's channels; a group that has no more than that stays as it is.
    """
    counts = [
        min(len(kept), kept_of(group.size, width))
        for group, kept in zip(structure.groups, shape.kept, strict=True)
    ]
    return highest(scores(arrays, structure, shape), shape, counts)


def fitting(arrays: Mapping[str, Array], structure: Structure, layout: Layout, target: Layout) -> Shape:
    """The shape that turns a model of `layout` into one of `target`, by magnitude.

    Raises StructureError where none does.
    """
    counts = [_count(group, layout, target) for group in structure.groups]
    if all(0 < count <= group.size for group, count in zip(structure.groups, counts, strict=True)):
        everything = whole(structure)
        shape = highest(scores(arrays, structure, everything), everything, counts)
        if layout_of(layout, structure, shape) == target:
            return shape
    raise StructureError("the smaller model is not the larger one with fewer channels")


def _count(group: Group, layout: Layout, target: Layout) -> int:
    """How many channels of a group a layout has room for; 0: it does not say."""
    for slot in group.slots:
        have, want = layout.by_name[slot.tensor].shape, target.by_name.get(slot.tensor)
        alone = slot.start == 0 and have[slot.axis] == slot.end(group.size)  # no other group on this axis
        if alone and want is not None and slot.axis < len(want.shape):
            return want.shape[slot.axis] // slot.block
    return 0


def highest(found: Scores, among: Shape, counts: Sequence[int]) -> Shape:
    """The `counts` channels of each group with the highest scores; of equal ones those of the lower index."""
    kept = []
    for score, channels, count in zip(found, among.kept, counts, strict=True):
        best = np.argsort(-score[list(channels)], kind="stable")[:count]
        kept.append(tuple(sorted(channels[i] for i in best)))
    return Shape(tuple(kept))
