"""The arithmetically coded part of a message, in both directions: labels, weights, bounds, levels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.binary_coder import Coder
from muster.coresets.coding.bounds import code_bounds
from muster.coresets.coding.checks import planes
from muster.coresets.coding.header import COLUMNS, UNIT, Header
from muster.coresets.coding.images import code_images
from muster.coresets.coding.labels import (
    EQUAL,
    TARGET_BITS,
    code_classes,
    code_targets,
    code_weights,
    targets,
)
from muster.coresets.coding.tables import code_table
from muster.coresets.coreset import Coreset, Space

_GROUP_BITS = 3  # rows of a table without classes are grouped by the highest bits of their target

Levels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def code_body(coder: Coder, header: Header, space: Space, coreset: Coreset | None) -> Coreset:
    """The coreset without the levels of photos; `coreset` None: it is read."""
    count = header.count
    given: tuple[Any, Any, Any] = (None, None, None)
    if coreset is not None:
        given = coreset.labels, coreset.weights, coreset.levels
    labels: NDArray[np.int64] | Floats
    if header.classes:
        labels = groups = alike = code_classes(coder, count, header.classes, given[0])
    else:
        steps = code_targets(coder, count, *header.targets, given[0])
        labels = targets(steps, *header.targets)
        groups, alike = steps >> TARGET_BITS - _GROUP_BITS, np.arange(count)
    weights = np.full(count, header.weight, np.float32)
    if header.form != EQUAL:
        weights = code_weights(coder, header.form, alike, given[1])
    low, high = _code_bounds(coder, header, None if coreset is None else coreset.space)
    levels = _code_levels(coder, header, groups, given[2])
    return Coreset(replace(space, low=low, high=high), header.kind, header.bits, levels, labels, weights)


def _code_bounds(coder: Coder, header: Header, space: Space | None) -> tuple[Floats, Floats]:
    if header.bounds == UNIT:
        return np.zeros(1, np.float32), np.ones(1, np.float32)
    columns = header.shape[-1] if header.bounds == COLUMNS else 1
    given = None
    if space is not None:
        low, high = (np.broadcast_to(bound, header.shape[-1:]) for bound in (space.low, space.high))
        given = low, high
    return code_bounds(coder, columns, given)


def _code_levels(coder: Coder, header: Header, groups: NDArray[np.int64], levels: Levels | None) -> Levels:
    count, shape, bits = header.count, header.shape, header.bits
    if header.space == "photo":
        return np.empty((0, *shape), np.uint8)
    if len(shape) == 1:
        return code_table(coder, groups, shape[0], bits, levels)
    across = planes(header.space, shape)
    turned = header.space == "table" and len(shape) == 2
    if levels is not None:
        levels = (levels.swapaxes(1, 2) if turned else levels).reshape(count, *across)
    coded = code_images(coder, count, across, bits, levels)
    return np.ascontiguousarray(coded[:, :, 0].swapaxes(1, 2)) if turned else coded.reshape(count, *shape)
