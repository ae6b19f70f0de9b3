"""What a task may declare as its metrics, and figures that cannot be: they are refused, and named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from muster.learning.faults import TaskFault
from muster.learning.metrics import checked, declared
from muster.learning.task import Task
from muster.node.trainer.session import Session
from muster.protocol.parts import CLASSES, LOSS, Metric

TASK = """
import torch
from torch import nn
from muster import Task

class Odd(Task):
    name = "odd"
    metrics = {metrics}

    def model(self):
        return nn.Linear(4, 3)

    def training_data(self):
        return torch.randn(100, 4), torch.randint(0, 3, (100,))

    def evaluation_data(self):
        return self.training_data()

    def correct(self, output, target):
        return {correct}
"""


class Named(Task):
    def __init__(self, metrics: Any) -> None:
        super().__init__()
        self.metrics = metrics


def test_metrics_are_as_declared_with_the_loss_behind_them() -> None:
    assert declared(Task()) == CLASSES
    assert declared(Named({"perplexity": ("min", "exp"), "accuracy": "max"})) == (
        Metric("perplexity", "min", True),
        CLASSES[0],
        LOSS,
    )
    assert declared(Named({"loss": "min", "f1": "max"})) == (LOSS, Metric("f1", "max"))
    assert declared(Named(None), {"mae": (1, 2), "r2": (1, 2)}) == (
        Metric("r2", "max"),
        Metric("mae", "min"),
        LOSS,
    )


@pytest.mark.parametrize(
    ("metrics", "named"),
    [
        ({"f1": "up"}, 'f1 must be "max", "min"'),
        ({"loss": "max"}, "'loss' with 'min'"),
        ({"": "max"}, "a metric's name"),
        ({"a b": "max"}, "a metric's name"),
        ({f"m{n}": "max" for n in range(17)}, "17 elements|18 elements"),
    ],
)
def test_a_wrong_declaration_is_a_fault_of_the_task(metrics: dict[str, Any], named: str) -> None:
    with pytest.raises(TaskFault, match=named):
        declared(Named(metrics))


@pytest.mark.parametrize(
    ("name", "pair", "said"),
    [
        ("accuracy", (10192, 100), "accuracy counted 10192 right of 100"),
        ("accuracy", (-1, 100), "accuracy counted -1 right of 100"),
        ("accuracy", (math.nan, 100), "accuracy is not finite"),
        ("loss", (math.nan, 100), "loss is not finite"),
        ("loss", (math.inf, 100), "loss is not finite"),
        ("loss", (1.0, -4), "loss was taken of -4"),
        ("loss", (1.0, math.inf), "loss was taken of inf"),
        ("iou", (1.0, 4), "measured 'iou', but its metrics are accuracy, loss"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_and_named(
    name: str, pair: tuple[float, float], said: str
) -> None:
    with pytest.raises(TaskFault, match=said):
        checked({name: pair}, CLASSES)


def test_what_was_taken_of_nothing_is_left_out() -> None:
    assert checked({"accuracy": (0, 0), "loss": (3, 4)}, CLASSES) == {"loss": (3.0, 4.0)}


def evaluated(tmp_path: Path, metrics: str, correct: str) -> dict[str, Any]:
    file = tmp_path / "odd.py"
    file.write_text(TASK.format(metrics=metrics, correct=correct))
    session, base = Session(), str(tmp_path / "base")
    opening = {"reference": str(file), "options": {}, "threads": 1, "niceness": 0, "throttle": 1.0}
    session.do({"do": "open", **opening}, lambda said: None)
    session.do({"do": "initial", "seed": 0, "source": None, "out": base}, lambda said: None)
    return session.do({"do": "evaluate", "base": base, "which": "common"}, lambda said: None)


def test_the_trainer_refuses_more_right_than_there_are(tmp_path: Path) -> None:
    """A segmentation task counted 10,192 right of 100 and ended in round 0 with an accuracy of 10330 %."""
    with pytest.raises(TaskFault, match="counted 10192 right of"):
        evaluated(tmp_path, "None", "10192")
    good = evaluated(tmp_path, "None", "len(target)")
    assert good["figures"]["accuracy"] == (100.0, 100.0)


def test_what_the_defaults_measure_beside_the_declared_metrics_is_left_out(tmp_path: Path) -> None:
    assert checked({"accuracy": (3, 4), "loss": (3, 4)}, (LOSS,)) == {"loss": (3.0, 4.0)}
    found = evaluated(tmp_path, '{"loss": "min"}', "len(target)")
    assert list(found["figures"]) == ["loss"]
