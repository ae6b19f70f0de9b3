"""What a node hands over fits its limits; what it takes from others could be its task's."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from muster.coresets.coding.codec import decode, encode
from muster.coresets.coding.error import CoresetError
from muster.coresets.coreset import Coreset, Space
from muster.coresets.exchange import Data, Made, differs, make, read
from muster.coresets.spaces import default_space
from muster.protocol.validation.limits import SHARED_SAMPLES_MAX

IMAGES, TABLE, NUMBERS = "images", "table", "numbers"


def fault(data: Data, message: bytes, kind: str, samples: int) -> str:
    """What a node that has `data` says of a message and of its record."""
    try:
        return differs(read(data, message), kind, samples)
    except CoresetError as error:
        return str(error)


def data_of(kind: str, count: int = 400, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    y: Any = rng.integers(0, 4, count)
    if kind == IMAGES:
        x = (rng.random((count, 1, 12, 12)) < 0.2 + 0.15 * y[:, None, None, None]).astype(np.float32)
    else:
        x = (rng.normal(size=(count, 6)) + y[:, None]).astype(np.float32)
    if kind == NUMBERS:
        y = (x @ np.arange(6)).astype(np.float32)
    return Data(x, y, default_space(x, y, None if kind == NUMBERS else 4), count)


def made_of(data: Data, bytes_max: int = 3000, **more: Any) -> Made:
    made = make(data, bytes_max, more.get("means_only", False), more.get("labels"), more.get("seed", 1))
    assert isinstance(made, Made), made
    return made


@pytest.mark.parametrize("kind", [IMAGES, TABLE, NUMBERS])
def test_another_node_reads_what_was_made_and_it_fits_the_budget(kind: str) -> None:
    made = made_of(data_of(kind))
    assert 0 < len(made.message) <= 3000
    other = data_of(kind, seed=5)
    coreset = read(other, made.message)
    assert (len(coreset), coreset.kind, coreset.bits) == (made.samples, made.kind, made.bits)
    assert round(float(coreset.weights.sum())) == made.stands_for == 400
    assert fault(other, made.message, made.kind, made.samples) == ""


def test_the_same_data_and_seed_give_the_same_bytes() -> None:
    assert made_of(data_of(IMAGES)).message == made_of(data_of(IMAGES)).message
    assert made_of(data_of(IMAGES), seed=2).message != made_of(data_of(IMAGES)).message


def test_only_samples_with_labels_that_may_travel_do() -> None:
    data = data_of(TABLE)
    made = made_of(data, labels=[1, 3])
    assert set(read(data, made.message).labels.tolist()) == {1, 3}
    assert made.stands_for == int(np.isin(data.y, [1, 3]).sum())
    assert "lets travel" in str(make(data, 3000, False, [9], 1))
    assert "targets of this task are numbers" in str(make(data_of(NUMBERS), 3000, False, [1], 1))


def test_means_are_of_at_least_twenty_samples_each() -> None:
    data = data_of(TABLE)
    made = made_of(data, means_only=True)
    assert made.kind == "means"
    assert read(data, made.message).weights.min() >= 20
    few = Data(data.x[:30], data.y[:30], data.space, 30)
    assert "no class has the 20 samples" in str(make(few, 3000, True, None, 1))


def test_a_budget_below_one_sample_is_said() -> None:
    assert make(data_of(IMAGES), 8, False, None, 1) == "not one sample fits into 8 bytes"


def test_samples_that_were_not_looked_at_are_stood_for_as_well() -> None:
    data = data_of(TABLE)
    made = made_of(replace(data, of=4000))
    assert made.stands_for == 4000
    assert round(float(read(data, made.message).weights.sum())) == 4000


def coreset(data: Data, **other: Any) -> Coreset:
    levels = np.zeros((3, *data.space.shape), np.uint8)
    labels: Any = np.array([0, 1, 2]) if data.space.classes else np.array([0, 1, 2], np.float32)
    made = Coreset(data.space, "samples", 2, levels, labels, np.ones(3, np.float32))
    return replace(made, **other)


def moved(space: Space, low: float, high: float) -> Space:
    return replace(space, low=np.array([low], np.float32), high=np.array([high], np.float32))


def test_wrong_labels_shapes_and_spaces_are_refused() -> None:
    data = data_of(IMAGES)
    more, narrow = replace(data.space, classes=9), replace(data.space, shape=(1, 9, 12))
    low = np.zeros((3, 1, 9, 12), np.uint8)
    for said, wrong in (
        ("in 9 classes", coreset(data, space=more, labels=np.array([0, 1, 8]))),
        ("tables of shape", coreset(data_of(TABLE))),
        ("images of shape 1 x 9 x 12", coreset(data_of(IMAGES), space=narrow, levels=low)),
    ):  # fmt: skip
        assert said in fault(data, encode(wrong), "samples", 3)


@pytest.mark.parametrize("kind", [IMAGES, TABLE])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1e18), (-1e9, 0.0), (5e3, 6e3)])
def test_inputs_far_outside_of_this_nodes_own_are_refused(kind: str, low: float, high: float) -> None:
    data = data_of(kind)
    levels = np.full((3, *data.space.shape), 3, np.uint8)
    levels[0] = 0
    wrong = encode(coreset(data, space=moved(data.space, low, high), levels=levels))
    assert "far outside" in fault(data, wrong, "samples", 3)
    with pytest.raises(CoresetError, match="far outside"):
        read(data, wrong)


def test_targets_far_outside_of_this_nodes_own_are_refused() -> None:
    data = data_of(NUMBERS)
    wrong = encode(coreset(data, labels=np.array([0, 1, 1e20], np.float32)))
    assert "its targets go from 0 to 1e+20" in fault(data, wrong, "samples", 3)


def test_a_record_that_says_something_else_is_refused() -> None:
    data = data_of(TABLE)
    message = encode(coreset(data))
    assert fault(data, message, "means", 3) == "its record says 3 means, and it holds 3 samples"
    assert fault(data, message, "samples", 2) == "its record says 2 samples, and it holds 3 samples"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    """A few bytes that say a million samples: refused by what so few bytes can hold."""
    data = data_of(IMAGES)
    honest = encode(coreset(data))
    assert len(honest) < 60
    count = honest.index(3)  # of samples, a varint
    bomb = honest[:count] + b"\xff\xff\x3f" + honest[count + 1 :]  # 2**20 - 1
    sentence = fault(data, bomb, "samples", 2**20 - 1)
    assert "more than" in sentence or "allowed" in sentence


def test_whatever_the_bytes_they_end_in_samples_or_a_sentence() -> None:
    rng, data = random.Random(19), data_of(IMAGES)
    honest = made_of(data, 600).message
    for _ in range(300):
        message = bytearray(honest)
        for _ in range(rng.randint(1, 4)):
            message[rng.randrange(len(message))] = rng.randrange(256)
        cut = bytes(message[: rng.randint(0, len(message))]) if rng.random() < 0.3 else bytes(message)
        try:
            found = read(data, cut)
        except CoresetError:
            continue
        assert found.labels.min() >= 0
        assert found.labels.max() < 4
        assert np.isfinite(found.inputs()).all()
        assert (found.weights > 0).all()
        assert len(found) <= SHARED_SAMPLES_MAX


def test_means_are_decoded_in_their_own_range() -> None:
    data = data_of(IMAGES)
    made = made_of(data, means_only=True)
    found = decode(made.message, data.space, samples_max=1000)
    assert found.inputs().max() < 1.0  # a mean of twenty is not as dark as one pixel
