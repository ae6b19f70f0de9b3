from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from made_coresets import coresets, made, same

from muster.coresets.coding import CoresetError, decode, encode
from muster.coresets.coreset import Coreset, Space

DATA = Path(os.environ.get("MUSTER_MNIST") or Path(__file__).parents[4] / "shared" / "data" / "mnist.npz")


@settings(deadline=None, max_examples=80)
@given(coresets())
def test_what_is_written_is_read(coreset):
    data = encode(coreset)
    same(coreset, decode(data, coreset.space, samples_max=len(coreset)))
    assert encode(coreset) == data


@settings(deadline=None, max_examples=40)
@given(coresets())
def test_what_was_read_is_written_alike(coreset):
    data = encode(coreset)
    read = decode(data, coreset.space, samples_max=40)
    again = decode(encode(read), coreset.space, samples_max=40)
    assert rows(again) == rows(read)


def rows(coreset: Coreset) -> list[tuple[float, float, bytes]]:
    """A set has no order: targets that are alike after rounding may change places."""
    levels = [level.tobytes() for level in coreset.levels]
    return sorted(zip(coreset.labels.tolist(), coreset.weights.tolist(), levels, strict=True))


@pytest.mark.skipif(
    not DATA.is_file(), reason=f"MNIST is not there: {DATA} (say where it is: MUSTER_MNIST=FILE)"
)
# Bytes an image: JBIG's ten neighbours need 15.6 for one bit, two whole ones the rest (zstd: 28 to 147).
@pytest.mark.parametrize(("bits", "most"), [(1, 15.6), (2, 39.4), (3, 55.3), (4, 73.5), (8, 147)])
def test_images_of_mnist_take_few_bytes(bits, most):
    with np.load(DATA) as file:
        images, labels = file["x_train"], file["y_train"].astype(np.int64)
    lengths = []
    for seed in range(3):
        chosen = np.random.default_rng(seed).choice(len(images), 100, replace=False)
        levels = np.rint(images[chosen] / 255 * ((1 << bits) - 1)).astype(np.uint8)[:, None]
        space = Space("image", (1, 28, 28), np.float32(0), np.float32(1), 10)
        coreset = Coreset(space, "samples", bits, levels, labels[chosen], np.full(100, 600, np.float32))
        data = encode(coreset)
        same(coreset, decode(data, space, samples_max=100))
        lengths.append(len(data) / 100)
    assert np.mean(lengths) <= most, lengths


def small(**changes) -> Coreset:
    return replace(made("image", (1, 5, 5), 3, 6, 2, np.random.default_rng(0)), **changes)


@pytest.mark.parametrize(
    "coreset",
    [
        small(kind="hearsay"),
        small(bits=0),
        small(bits=9),
        small(bits=1),
        small(levels=np.zeros((6, 5, 5), np.uint8)),
        small(levels=np.zeros((6, 1, 5, 5), np.int64)),
        small(levels=np.zeros((0, 1, 5, 5), np.uint8)),
        small(labels=np.full(6, 3)),
        small(labels=np.full(6, -1)),
        small(labels=np.zeros(6, np.float32)),
        small(labels=np.zeros(5, np.int64)),
        small(weights=np.zeros(6, np.float32)),
        small(weights=np.full(6, np.nan, np.float32)),
        small(weights=np.full(6, 1e30, np.float32)),
        small(weights=np.ones(7, np.float32)),
        small(space=replace(small().space, low=np.full(1, np.inf, np.float32))),
        small(space=replace(small().space, low=np.full(1, 2, np.float32))),
        small(space=replace(small().space, low=np.zeros(3, np.float32))),
        small(space=replace(small().space, kind="sound")),
    ],
)
def test_what_cannot_be_read_is_not_written(coreset):
    with pytest.raises(CoresetError):
        encode(coreset)


@pytest.mark.parametrize(
    "space",
    [
        replace(small().space, kind="table"),
        replace(small().space, shape=(1, 5, 6)),
        replace(small().space, shape=(5, 5)),
        replace(small().space, classes=2),
        replace(small().space, classes=0),
    ],
)
def test_a_coreset_of_another_space_is_refused(space):
    data = encode(small())
    with pytest.raises(CoresetError, match="the task takes"):
        decode(data, space, samples_max=6)


def test_too_many_samples_or_bytes_are_refused():
    data, space = encode(small()), small().space
    assert len(decode(data, space, samples_max=6, bytes_max=len(data))) == 6
    with pytest.raises(CoresetError, match="6 samples; 1 to 5"):
        decode(data, space, samples_max=5)
    with pytest.raises(CoresetError, match="bytes"):
        decode(data, space, samples_max=6, bytes_max=len(data) - 1)


@pytest.mark.parametrize(("count", "shape"), [(2100, (3,)), (3, (2500,)), (1100, (1030,)), (1, (1,))])
def test_long_and_wide_tables_are_read_as_written(count, shape):
    coreset = made("table", shape, 4, count, 1, np.random.default_rng(3), bounds="columns")
    same(coreset, decode(encode(coreset), coreset.space, samples_max=count))


@pytest.mark.parametrize(
    ("kind", "shape", "count"),
    [("image", (1, 100_000, 1), 1), ("table", (100_000, 4), 1), ("image", (1, 1), 3_000_000)],
)
def test_what_would_take_too_long_or_too_much_memory_is_refused(kind, shape, count):
    coreset = made(kind, shape, 2, count, 2, np.random.default_rng(0))
    with pytest.raises(CoresetError, match=r"would do|may do"):
        encode(coreset)
