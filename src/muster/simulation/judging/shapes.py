"""Pruned models in a judge's eyes: vectors of the whole model, with zeros where a channel has gone.

A channel of a simulated model is a row of its first tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.compression.tensors import Layout

Mask: TypeAlias = NDArray[np.bool_]
STRUCTURE_BYTES = 8


def rows(layout: Layout, shape: bytes) -> Mask:
    """Which rows of the first tensor a shape keeps; b"": all."""
    count = layout.tensors[0].shape[0]
    if not shape:
        return np.ones(count, np.bool_)
    return np.unpackbits(np.frombuffer(shape[STRUCTURE_BYTES:], np.uint8))[:count].astype(np.bool_)


def kept(layout: Layout, shape: bytes) -> Mask:
    """The same of the whole vector."""
    first = layout.tensors[0]
    mask = np.repeat(rows(layout, shape), first.size // first.shape[0])
    return np.concatenate([mask, np.ones(layout.parameters - first.size, np.bool_)])


def smaller(layout: Layout, shape: bytes) -> Layout:
    """The layout of a model of a shape."""
    first, *others = layout.tensors
    count = int(rows(layout, shape).sum())
    return replace(layout, tensors=(replace(first, shape=(count, *first.shape[1:])), *others))


def spread(layout: Layout, shape: bytes, vector: NDArray[Any]) -> NDArray[Any]:
    """A vector of a model of a shape as one of the whole model."""
    whole = np.zeros(layout.parameters, vector.dtype)
    whole[kept(layout, shape)] = vector
    return whole


def largest(layout: Layout, vectors: Sequence[NDArray[Any]], among: Mask, count: int) -> Mask:
    """The `count` rows with the largest sums of magnitudes in all vectors, counted in units of 2**-24."""
    first = layout.tensors[0]
    score = np.zeros(first.shape[0], np.int64)
    for vector in vectors:
        units = np.rint(np.abs(vector[: first.size].astype(np.float64)) * 2.0**24).astype(np.int64)
        score += units.reshape(first.shape[0], -1).sum(axis=1)
    order = sorted(np.flatnonzero(among), key=lambda row: (-score[row], row))
    mask = np.zeros(first.shape[0], np.bool_)
    mask[order[:count]] = True
    return mask


def written(structure: bytes, mask: Mask) -> bytes:
    """A shape as in a commit; `structure`: how one begins."""
    return structure[:STRUCTURE_BYTES] + np.packbits(mask).tobytes()
