"""Two branches that were pruned apart become one model: summed scores, and the mean of who has a weight."""

from __future__ import annotations

from collections.abc import Mapping

from muster.algorithms.merging import merge
from muster.algorithms.slimming.carrying import carry, layout_of
from muster.algorithms.slimming.magnitude import highest, scores
from muster.algorithms.slimming.shape import Shape
from muster.algorithms.slimming.structure import Structure
from muster.compression.tensors import Array, Layout


def joined_shape(
    structure: Structure, a: Mapping[str, Array], shape_a: Shape, b: Mapping[str, Array], shape_b: Shape
) -> Shape:
    """The shape of the merge of two models: as many channels of each group as the smaller one has, those
    with the highest sum of both scores (`magnitude.scores`)."""
    if shape_a == shape_b:
        return shape_a
    both = zip(scores(a, structure, shape_a), scores(b, structure, shape_b), strict=True)
    pairs = list(zip(shape_a.kept, shape_b.kept, strict=True))
    either = Shape(tuple(tuple(sorted({*one, *other})) for one, other in pairs))
    counts = [min(len(one), len(other)) for one, other in pairs]
    return highest(tuple(one + other for one, other in both), either, counts)


def mean_of_holders(
    layout: Layout,
    structure: Structure,
    a: Mapping[str, Array],
    shape_a: Shape,
    b: Mapping[str, Array],
    shape_b: Shape,
    alpha: float,
    target: Shape,
) -> dict[str, Array]:
    """alpha * a + (1 - alpha) * b in the shape `target`; a weight that one of them alone has is that one's.

    `layout` is the whole model's.  A weight between a channel that only `a` has and one that only `b` has
    is 0.  Raises TensorError when a model does not fit its shape.
    """
    only_a, only_b = carry(a, structure, shape_a, target), carry(b, structure, shape_b, target)
    full_a = carry(a, structure, shape_a, target, missing=only_b)
    full_b = carry(b, structure, shape_b, target, missing=only_a)
    return merge(layout_of(layout, structure, target), full_a, full_b, alpha)
