"""The data of jobs on nodes where people labelled samples of a model in use."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from muster.learning.adapting import Labels, LocalLabels, adapted, with_labels
from muster.learning.data import open_data
from muster.learning.faults import TaskFault
from muster.learning.sources.appended import Appended
from muster.learning.task import Task


class Halves(Task):
    """Inputs are halves of what the camera sees; own inputs are below 100, labelled ones above."""

    name = "halves"
    raw = ("uint8", (2,))

    def model(self) -> nn.Module:
        return nn.Linear(2, 3)

    def prepare(self, x: torch.Tensor) -> torch.Tensor:
        return x.float() / 2

    def training_data(self) -> Any:
        y = np.arange(600) % 3
        return np.stack([np.arange(600) / 10, y], 1).astype(np.float32), y


def labels(first: int, y: list[int]) -> Labels:
    x = np.array([[200 + first + i, 2 * c] for i, c in enumerate(y)], np.uint8)
    return Labels(x.reshape(len(y), 2), np.array(y, np.int64))


NONE = Labels(np.zeros(0, np.float32), np.zeros(0, np.int64))


def found(new: Labels = NONE, former: Labels = NONE, held: Labels = NONE) -> LocalLabels:
    return LocalLabels(new, former, held)


def seen(data: Any, batch: int, batches: int) -> torch.Tensor:
    made = itertools.islice(data.own.batches(batch, 1), batches)
    return torch.cat([b.data[0] for b in made])


def test_an_ordinary_job_has_the_labels_behind_its_own_data_once_an_epoch() -> None:
    task = Halves()
    data = open_data(task)
    both = with_labels(task, data, found(labels(0, [0, 1, 2]), labels(10, [1])))
    assert both.own.size == (data.own.size or 0) + 4
    x = seen(both, 544 // 4, 4)
    high = x[x[:, 0] >= 100]
    assert sorted(high[:, 0].tolist()) == [100, 100.5, 101, 105]
    assert len(np.unique(x[:, 0])) == len(x)
    assert with_labels(task, data, found()).own is data.own


def test_each_batch_of_an_adapting_job_is_half_new_and_half_old() -> None:
    task = Halves()
    data = adapted(task, open_data(task), found(labels(0, [0, 1] * 10)), 16, 7)
    for batch in itertools.islice(data.own.batches(16, 3), 20):
        x, y = batch.data
        new = x[:, 0] >= 100
        assert (int(new.sum()), int((~new).sum()), batch.count) == (16, 16, 32)
        assert torch.equal(x[:, 1], y.float())  # inputs and labels go together
        assert set(y[~new].tolist()) == {0, 1, 2}


def test_old_samples_are_a_few_of_all_classes_and_of_former_epochs() -> None:
    task = Halves()
    former = labels(20, [2] * 5)
    data = adapted(task, open_data(task), found(labels(0, [0]), former), 20, 7)
    x = seen(data, 1, 300)
    old = {float(v) for v in x[:, 0] if v < 100}
    kept = {float(v) for v in x[:, 0] if v >= 110}
    assert 100 < len(old) <= 200
    assert kept == {110, 110.5, 111, 111.5, 112}
    again = adapted(task, open_data(task), found(labels(0, [0]), former), 20, 7)
    assert torch.equal(seen(again, 1, 50), seen(data, 1, 50))


def test_it_is_measured_on_new_and_old_held_out_samples_alike() -> None:
    task = Halves()
    data = adapted(task, open_data(task), found(labels(0, [0]), held=labels(50, [1, 2, 0])), 16, 7)
    assert data.common is None
    assert data.held_out is not None
    x = torch.cat([b.data[0] for b in data.held_out.once(2)])
    assert (x[:, 0] >= 100).sum() == 3
    assert len(x) == 6
    alone = adapted(task, open_data(task), found(labels(0, [0])), 16, 7)
    assert alone.held_out is not None
    assert all((b.data[0][:, 0] < 100).all() for b in alone.held_out.once(2))


def test_labels_that_do_not_fit_are_named() -> None:
    task = Halves()
    data = open_data(task)
    with pytest.raises(
        TaskFault, match=r"have the shape \(3,\) for the model, those of training_data\(\) \(2"
    ):
        adapted(task, data, found(Labels(np.zeros((2, 3), np.uint8), np.zeros(2, np.int64))), 1, 0)
    with pytest.raises(TaskFault, match="are values, those of training_data"):
        adapted(task, data, found(Labels(np.zeros((2, 2), np.uint8), np.zeros(2, np.float32))), 1, 0)


def test_appended_rows_are_in_their_places() -> None:
    task = Halves()
    first = open_data(task).own
    both: Any = with_labels(task, open_data(task), found(labels(0, [0, 1, 2]))).own
    n = first.size or 0
    x = both.at([n + 1, 3, n, 5]).example(4).data[0]
    own = both.first.at([3, 5]).example().data[0]
    assert x[:, 0].tolist() == [100.5, own[0, 0], 100.0, own[1, 0]]
    assert isinstance(both, Appended)
    assert both.labels is not None
    assert both.labels[-3:].tolist() == [0, 1, 2]
