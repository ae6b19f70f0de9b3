"""Labels and weights of samples that are sorted by label, then by weight: a set has no order of its own.

Classes travel as the number of samples of each, other targets as 16-bit numbers between their least and
largest.  Weights travel as one number if all are equal, exactly if they are whole numbers, else as float32
without its last thirteen bits: each within 2**-11 of what it was.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from muster.coresets.coding.adaptive import Number
from muster.coresets.coding.binary_coder import Coder
from muster.coresets.coding.checks import WEIGHT_MAX
from muster.coresets.coding.error import CoresetError

EQUAL, WHOLE, REAL = range(3)
_WHOLE_MAX = 1 << 20
_DROPPED_BITS = 13  # of a float32's 23
_LARGEST_WEIGHT = int(np.float32(WEIGHT_MAX).view(np.uint32)) >> _DROPPED_BITS
_WEIGHT_BITS = _LARGEST_WEIGHT.bit_length()
TARGET_BITS = 16
_TARGET_TOP = (1 << TARGET_BITS) - 1

Classes = NDArray[np.int64]
Floats = NDArray[np.float32]
Whole = NDArray[np.int64]


def code_classes(coder: Coder, count: int, classes: int, labels: Classes | None) -> Classes:
    """Ascending labels below `classes`; None: they are read."""
    given = None if labels is None else np.bincount(labels, minlength=classes).tolist()
    numbers, left, counts = Number(), count, []
    for label in range(classes):
        here = numbers.code(coder, None if given is None else given[label], left.bit_length()) if left else 0
        left -= here
        if left < 0:
            raise CoresetError("the coreset has labels of more samples than it has")
        counts.append(here)
    if left:
        raise CoresetError("the coreset has samples without a label")
    return np.repeat(np.arange(classes, dtype=np.int64), counts)


def code_targets(coder: Coder, count: int, low: float, high: float, values: Floats | None) -> Whole:
    """Ascending targets as whole numbers, 0 for `low`, 2**16 - 1 for `high`; `values` None: they are read."""
    given = None
    if values is not None:
        steps = np.rint((values.astype(np.float64) - low) / (high - low or 1.0) * _TARGET_TOP).astype(
            np.int64
        )
        given = np.diff(steps, prepend=0)
    coded = np.cumsum(_numbers(coder, count, TARGET_BITS, given))
    if coded[-1] > _TARGET_TOP:
        raise CoresetError("the coreset has a target above its largest one")
    return coded


def targets(steps: Whole, low: float, high: float) -> Floats:
    """What `code_targets` coded."""
    return np.asarray(low + steps * ((high - low) / _TARGET_TOP), np.float32)


def weight_form(weights: Floats) -> int:
    """The cheapest of EQUAL, WHOLE, REAL."""
    if (weights == weights[0]).all():
        return EQUAL
    return WHOLE if (weights == np.rint(weights)).all() and weights.max() <= _WHOLE_MAX else REAL


def code_weights(coder: Coder, form: int, labels: Whole, weights: Floats | None) -> Floats:
    """Weights of WHOLE or REAL form, ascending among equal labels; `weights` None: they are read."""
    first = np.ones(len(labels), bool)
    first[1:] = labels[1:] != labels[:-1]
    least = starts = steps = None
    if weights is not None:
        whole = weights.astype(np.int64) if form == WHOLE else _without_last_bits(weights)
        least = int(whole.min())
        starts, steps = whole[first] - least, np.diff(whole, prepend=0)[~first]
    least = Number().code(coder, least, _WEIGHT_BITS)
    starts = _numbers(coder, int(first.sum()), _WEIGHT_BITS, starts) + least
    steps = _numbers(coder, int((~first).sum()), _WEIGHT_BITS, steps)
    return _summed(form, first, starts, steps)


def _summed(form: int, first: NDArray[np.bool_], starts: Whole, steps: Whole) -> Floats:
    """Each class's first weight and the steps from one to the next, added up."""
    whole = np.zeros(len(first), np.int64)
    whole[~first] = steps
    sums = np.cumsum(whole)
    begins = np.flatnonzero(first)
    whole = sums + np.repeat(starts - sums[begins], np.diff(begins, append=len(first)))
    if whole.min() < 1 or whole.max() > _LARGEST_WEIGHT:
        raise CoresetError("the coreset has a weight that is not above 0 and at most 2**32")
    if form == WHOLE:
        return whole.astype(np.float32)
    return (whole.astype(np.uint32) << np.uint32(_DROPPED_BITS)).view(np.float32)


def _without_last_bits(weights: Floats) -> Whole:
    bits = weights.view(np.uint32).astype(np.int64)
    rounded: Whole = np.maximum((bits + (1 << _DROPPED_BITS - 1)) >> _DROPPED_BITS, 1)
    return rounded


def _numbers(coder: Coder, count: int, bits_max: int, given: Whole | None) -> Whole:
    numbers = Number()
    said: list[int] | list[None] = [None] * count if given is None else given.tolist()
    return np.array([numbers.code(coder, number, bits_max) for number in said], np.int64)
