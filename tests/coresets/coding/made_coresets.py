"""Coresets of every kind and shape, as hypothesis draws them, and what a message may lose of one."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from muster.coresets.coreset import KINDS, Coreset, Space

IMAGES = [(1, 28, 28), (5, 7), (3, 4, 9), (2, 1, 1, 3), (1, 1)]
TABLES = [(1,), (4,), (13,), (9, 3), (1, 6, 6)]


@st.composite
def coresets(draw, kinds=("image", "table")):
    kind = draw(st.sampled_from(kinds))
    shape = draw(st.sampled_from(IMAGES if kind == "image" else TABLES))
    classes = draw(st.sampled_from([0, 1, 2, 10, 1000]))
    return made(
        kind,
        shape,
        classes,
        count=draw(st.integers(1, 40)),
        bits=draw(st.integers(1, 8)),
        rng=np.random.default_rng(draw(st.integers(0, 2**32))),
        weights=draw(st.sampled_from(["equal", "whole", "real", "by class"])),
        smooth=draw(st.booleans()),
        bounds=draw(st.sampled_from(["unit", "pair", "columns"])),
    )


def made(kind, shape, classes, count, bits, rng, weights="equal", smooth=False, bounds="unit") -> Coreset:
    levels = rng.integers(0, 1 << bits, (count, *shape))
    if smooth:
        levels = np.broadcast_to(levels[:, :1], levels.shape)
    labels = rng.integers(0, classes, count) if classes else rng.normal(size=count).astype(np.float32)
    weigh = {
        "equal": np.full(count, rng.exponential(50)),
        "whole": rng.integers(1, 2000, count),
        "real": rng.exponential(1000, count) + 1e-3,
        "by class": rng.exponential(40, max(1, classes))[labels] if classes else np.full(count, 2.0),
    }[weights]
    width = shape[-1] if bounds == "columns" else 1
    low = rng.normal(size=width) if bounds != "unit" else np.zeros(1)
    high = low + rng.exponential(3, width) if bounds != "unit" else np.ones(1)
    space = Space(kind, shape, low.astype(np.float32), high.astype(np.float32), classes)
    kept = KINDS[int(rng.integers(len(KINDS)))]
    return Coreset(space, kept, bits, levels.astype(np.uint8), labels, weigh.astype(np.float32))


def same(given: Coreset, read: Coreset) -> None:
    """The same samples in the order of a message; weights and targets within what a message keeps."""
    order = np.lexsort((given.weights, given.labels))
    assert (read.kind, read.bits, len(read)) == (given.kind, given.bits, len(given))
    assert (read.levels.dtype, read.weights.dtype) == (np.uint8, np.float32)
    assert np.array_equal(read.levels, given.levels[order])
    if given.space.classes:
        assert read.labels.dtype == np.int64
        assert np.array_equal(read.labels, given.labels[order])
    else:
        assert read.labels.dtype == np.float32
        assert np.abs(read.labels - given.labels[order]).max() <= np.ptp(given.labels) / 65535
    np.testing.assert_allclose(read.weights, given.weights[order], rtol=2**-11)
    if np.array_equal(given.weights, np.rint(given.weights)):
        assert np.array_equal(read.weights, given.weights[order])
    width = given.space.high - given.space.low
    for ours, theirs in ((read.space.low, given.space.low), (read.space.high, given.space.high)):
        assert (np.abs(ours - theirs) <= width / 1000).all()
