"""The default loss and figures follow the kind of target."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from muster.learning import local_training, metrics
from muster.learning.data import open_data
from muster.learning.evaluation import evaluate
from muster.learning.faults import TaskFault
from muster.learning.hooks import targets
from muster.learning.hooks.targets import TargetFacts
from muster.learning.task import Task

torch.manual_seed(0)
LOGITS = torch.randn(6, 4)
CLASSES = torch.arange(6) % 4


def test_classes() -> None:
    found = targets.figures(LOGITS, CLASSES)
    assert list(found) == ["accuracy", "loss"]
    assert found["accuracy"] == (float((LOGITS.argmax(1) == CLASSES).sum()), 6.0)
    assert found["loss"][0] == pytest.approx(float(F.cross_entropy(LOGITS, CLASSES)) * 6)
    assert torch.equal(targets.loss(LOGITS, CLASSES), F.cross_entropy(LOGITS, CLASSES))
    assert torch.equal(targets.loss(LOGITS, CLASSES.to(torch.uint8)), F.cross_entropy(LOGITS, CLASSES))


@pytest.mark.parametrize(
    "y", [torch.tensor([0, 1, 1]), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([[0.0], [1.0], [1.0]])]
)
@pytest.mark.parametrize("column", [True, False])
def test_one_output_is_a_logit(y: torch.Tensor, column: bool) -> None:
    logit = torch.tensor([2.0, 1.0, -1.0])
    output = logit[:, None] if column else logit
    found = targets.figures(output, y)
    assert found["accuracy"] == (1.0, 3.0)
    expected = F.binary_cross_entropy_with_logits(logit, torch.tensor([0.0, 1.0, 1.0]))
    assert float(targets.loss(output, y)) == pytest.approx(float(expected))


def test_several_labels() -> None:
    y = (LOGITS > 0).float()
    y[0, 0] = 1 - y[0, 0]
    assert targets.figures(LOGITS, y)["accuracy"] == (23.0, 24.0)
    assert float(targets.loss(LOGITS, y)) == pytest.approx(
        float(F.binary_cross_entropy_with_logits(LOGITS, y))
    )


def test_pixels_are_counted_and_some_are_not() -> None:
    output, y = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    y[0, 0] = -100
    found = targets.figures(output, y)
    right = float(((output.argmax(1) == y) & (y >= 0)).sum())
    assert found["accuracy"] == (right, 28.0)
    assert found["loss"] == (pytest.approx(float(F.cross_entropy(output, y)) * 28), 28.0)
    assert targets.figures(output, torch.full_like(y, -100)) == {}
    nothing = targets.loss(output.requires_grad_(), torch.full_like(y, -100))
    assert float(nothing.detach()) == 0.0


@pytest.mark.parametrize("last", [True, False])
def test_tokens_have_a_perplexity(last: bool) -> None:
    output, y = torch.randn(2, 5, 7), torch.randint(0, 7, (2, 5))
    y[1, 3:] = -100
    nll = float(F.cross_entropy(output.mT, y)) * 8
    found = targets.figures(output if last else output.mT, y)
    assert list(found) == ["perplexity", "accuracy", "loss"]
    assert found["perplexity"] == (pytest.approx(nll), 8.0)


def test_numbers() -> None:
    y = torch.tensor([1.0, 2.0, 4.0])
    output = torch.tensor([[1.0], [3.0], [4.0]], requires_grad=True)
    loss = targets.loss(output, y.double())
    assert float(loss.detach()) == pytest.approx(1 / 3)  # not of 3 x 3 differences
    loss.backward()  # type: ignore[no-untyped-call]
    found = targets.figures(output.detach(), y, TargetFacts(False, torch.tensor(2.0)))
    assert found["r2"] == (4.0, 5.0)
    assert (found["mae"], found["loss"]) == ((1.0, 3.0), (1.0, 3.0))
    assert "r2" not in targets.figures(torch.zeros(2), torch.full((2,), 3.0))


def test_numbers_that_happen_to_be_zeros_and_ones_stay_numbers() -> None:
    y = torch.tensor([0.0, 1.0])
    assert float(targets.loss(torch.tensor([0.5, 0.5]), y, TargetFacts(False))) == 0.25


@pytest.mark.parametrize(
    ("output", "y", "words"),
    [
        (LOGITS, torch.tensor([0, 1, 2, 3, 9, -1]), "2 of 6 labels are out of range, such as 9"),
        (LOGITS, torch.zeros(5), "fit no default loss"),
        (LOGITS, torch.zeros(6, 4, 4, dtype=torch.int64), "fit no default loss"),
        ({"logit": LOGITS}, CLASSES, "output is dict"),
        (LOGITS, [1, 2], "targets are list"),
    ],
)
def test_what_does_not_fit_is_named(output: Any, y: Any, words: str) -> None:
    with pytest.raises(TaskFault, match=words):
        targets.loss(output, y)
    with pytest.raises(TaskFault, match=words):
        targets.figures(output, y)


class Regression(Task):
    name = "regression"

    def model(self) -> nn.Module:
        return nn.Linear(2, 1)

    def training_data(self) -> Any:
        x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
        return x, x @ np.float32([1.0, -2.0]) + 3


def test_a_regression_has_an_r2_of_its_own() -> None:
    task = Regression()
    data = open_data(task)
    task.target_facts = targets.of_source(data.own)
    model = task.model()
    assert data.held_out is not None
    before = evaluate(task, model, data.held_out)
    local_training.train(task, model, data.own, steps=100, lr=0.1, batch=32)
    after = evaluate(task, model, data.held_out)
    assert after.mean("r2") > 0.99 > 0.5 > before.mean("r2")
    assert [m.name for m in metrics.declared(task, after.figures)] == ["r2", "mae", "loss"]
    assert math.isfinite(after.loss)


def test_an_own_loss_is_the_loss_figure_and_an_own_count_the_accuracy() -> None:
    class Own(Regression):
        def loss(self, output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            return 2 * F.l1_loss(output.squeeze(1), target)

        def correct(self, output: torch.Tensor, target: torch.Tensor) -> int:
            return 3

    task = Own()
    found = evaluate(task, nn.Linear(2, 1), open_data(task).own)
    assert found.mean("loss") == pytest.approx(2 * found.mean("mae"))
    assert found.figures["accuracy"] == (3.0, 180.0)
    assert [m.name for m in metrics.declared(task, found.figures)] == ["accuracy", "r2", "mae", "loss"]
