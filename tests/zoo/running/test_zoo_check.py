"""`muster task check` finds good what a node trains, and bad what a node refuses, in the same words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from animals import animal, stems
from fleet import TrainerHere, run_job, source

from muster.errors import MusterError
from muster.learning.task import load
from muster.node.trainer.task_check import TaskReport, check
from muster.simulation.virtual import event_loop

GOOD = """
import numpy as np
import torch
from torch import nn
from muster import Task

class Good(Task):
    name = "good"

    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))

    def training_data(self):
        rng = np.random.default_rng(self.part)
        y = np.arange(90) % 3
        return (rng.normal(size=(90, 4)) + 3 * np.eye(4)[y]).astype(np.float32), y
"""


def checked(path: Path, folder: Path, **options: Any) -> TaskReport:
    async def main() -> TaskReport:
        clock = asyncio.get_running_loop().time
        return await check(TrainerHere(), source(str(path), options), folder, clock=clock, onnx=False)

    return event_loop.run(main(), 1000.0)


def written(folder: Path, more: str = "") -> Path:
    """The good task with more methods, or others."""
    path = folder / "task.py"
    path.write_text(GOOD + more)
    return path


@pytest.mark.parametrize("stem", stems())
def test_the_check_finds_it_good(stem: str, tmp_path: Path) -> None:
    report = checked(animal(stem).path, tmp_path)
    assert not report.faults
    assert report.figures
    assert not [w for w in report.warnings if "no figures" in w]


def test_a_good_task(tmp_path: Path) -> None:
    report = checked(written(tmp_path), tmp_path)
    assert report.good
    assert report.warnings == ()
    assert (report.samples, report.evaluation_samples) == (81, 9)
    assert report.step_s == 0.01
    whole, half = (4 * n + n + 2 * 2 * n + 3 * n + 3 for n in (8, 4))  # a batch norm's statistics travel
    assert (report.parameters, report.half_parameters, report.one_width) == (whole, half, "")
    assert list(report.figures) == ["accuracy", "loss"]
    shapes = {t.name: (t.shape, t.size_bytes, t.kind) for t in report.tensors}
    assert shapes["0.weight"] == ((8, 4), 128, "travels")
    assert sum(t.size_bytes for t in report.tensors if t.kind == "travels") <= report.travels_bytes


def refusal(path: Path, folder: Path) -> str:
    """What a node says that is asked to train the task."""
    with pytest.raises(MusterError) as caught:
        run_job(str(path), folder, "good", rounds=1, steps=1)
    return caught.value.sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "    def loss(self, output, target):\n        return output.sum().item()\n",
            "must return one number",
        ),
        ("    def loss(self, output, target):\n        return output.sum() * torch.inf\n", "inf at step 1"),
        ("    def model(self):\n        return 3\n", "must return a torch.nn.Module, not int"),
        ("    def model(self):\n        return nn.ReLU()\n", "no parameter that can be trained"),
        ("    def training_data(self):\n        return [], []\n", "there is no training data on this node"),
        ("    def training_data(self):\n        return 1 / 0\n", "task.py, line 18: ZeroDivisionError"),
    ],
)
def test_the_check_and_the_node_say_the_same(more: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, more)
    with pytest.raises(MusterError) as caught:
        checked(path, tmp_path)
    assert said in caught.value.sentence
    assert refusal(path, tmp_path) == caught.value.sentence


def test_what_a_node_puts_up_with_is_a_warning(tmp_path: Path) -> None:
    more = """
    def validation_step(self, model, batch):
        raise RuntimeError("no figures today")
    def correct(self, output, target):
        raise RuntimeError("no figures today")
"""
    report = checked(written(tmp_path, more), tmp_path)
    assert report.good
    assert any("no figures today" in warning for warning in report.warnings)


def test_what_cannot_be_repeated_is_a_warning(tmp_path: Path) -> None:
    more = """
    def loss(self, output, target):
        return (output * torch.from_numpy(np.random.default_rng().normal(size=3))).sum()
"""
    report = checked(written(tmp_path, more), tmp_path)
    assert [w for w in report.warnings if w.startswith("training gave two results for one seed")]
    flat = "    def loss(self, output, target):\n        return output.sum() * 0\n"
    report = checked(written(tmp_path, flat), tmp_path)
    assert [w for w in report.warnings if "training changed no parameter" in w]


def test_a_worker_that_is_spawned_imports_the_file_again() -> None:
    """With its neighbour, by their plain names: a process of its own, which takes seconds."""
    task = load(str(animal("workers").path), {"start": "spawn"})
    x, y = next(iter(task.training_data()(32, 0)))
    assert (tuple(x.shape), tuple(y.shape)) == ((32, 4), (32,))


def test_a_task_of_one_width_says_why(tmp_path: Path) -> None:
    path = written(tmp_path, "    def model(self):\n        return nn.Linear(4, 3)\n")
    report = checked(path, tmp_path)
    assert report.good
    assert report.half_parameters is None
    assert "no layer whose width muster can change" in report.one_width
