"""What a task says of raw samples and labels, and that prepare() makes what training_data() returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from muster.learning import digits, mnist
from muster.learning.faults import TaskFault
from muster.learning.raw_samples import RawSample, declared_raw, label_names
from muster.learning.task import Task


def task(**said: Any) -> Task:
    made: Task = type("Made", (Task,), {"name": "made", **said})()
    return made


def prepare(self: Task, x: Any) -> Any:
    return x / 2


def test_a_task_that_says_nothing_takes_what_its_model_takes() -> None:
    plain, x = task(), torch.ones(3)
    assert declared_raw(plain) is None
    assert label_names(plain) == {}
    assert plain.prepare(x) is x


@pytest.mark.parametrize("dtype", ["uint8", np.uint8, np.dtype("uint8")])
def test_raw_samples_as_declared(dtype: Any) -> None:
    found = declared_raw(task(prepare=prepare, raw=(dtype, [28, 28])))
    assert found == RawSample("uint8", (28, 28))
    assert found.size_bytes == 784
    scalar = declared_raw(task(prepare=prepare, raw=("float64", ())))
    assert scalar is not None
    assert scalar.size_bytes == 8


@pytest.mark.parametrize(
    "raw",
    ["uint8", ("uint8",), ("colour", (3,)), ("uint8", 3), ("uint8", (0,)), ("complex64", (3,)),
     ("object", (3,)), ("uint8", (10**9,))],
)  # fmt: skip
def test_an_odd_declaration_is_a_sentence(raw: Any) -> None:
    with pytest.raises(TaskFault, match="it must be one of"):
        declared_raw(task(prepare=prepare, raw=raw))


def test_prepare_and_raw_need_each_other() -> None:
    with pytest.raises(TaskFault, match="does not say what it takes"):
        declared_raw(task(prepare=prepare))
    with pytest.raises(TaskFault, match="lacks prepare"):
        declared_raw(task(raw=("uint8", (3,))))


def test_names_of_labels_and_the_older_name() -> None:
    assert label_names(task(labels=("cat", "dog"))) == {0: "cat", 1: "dog"}
    assert label_names(task(classes=["cat", "dog"])) == {0: "cat", 1: "dog"}
    assert label_names(task(labels={1: "dog", 7: "cat"})) == {1: "dog", 7: "cat"}
    assert label_names(task(labels=("a", "b"), classes=("c", "d"))) == {0: "a", 1: "b"}


@pytest.mark.parametrize("labels", ["cats", ("a", "a"), ("a", 1), ("",), {"a": "b"}, {-1: "a"}, {True: "a"}])
def test_odd_names_are_a_sentence(labels: Any) -> None:
    with pytest.raises(TaskFault, match="must be different names"):
        label_names(task(labels=labels))


def test_prepared_raw_digits_are_what_digits_trains_on() -> None:
    whole = digits.Digits()
    x, _ = digits.load()
    raw = np.rint(x[:50, 0] * digits.DEVIATION + digits.MEAN).astype(np.uint8)
    found = whole.prepare(torch.from_numpy(raw))
    assert np.allclose(found.numpy(), x[:50], atol=1e-5)
    assert declared_raw(whole) == RawSample("uint8", raw.shape[1:])


def test_prepared_raw_images_are_what_mnist_trains_on() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    found = mnist.Mnist().prepare(torch.from_numpy(raw))
    assert np.allclose(found.numpy(), mnist._images(raw), atol=1e-5)
    assert declared_raw(mnist.Mnist()) == RawSample("uint8", (28, 28))
