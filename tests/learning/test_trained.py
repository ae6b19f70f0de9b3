"""An exported model comes back as the torch module of its task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from muster.api import Result
from muster.errors import MusterError
from muster.learning.digits import Digits
from muster.learning.export import save_safetensors
from muster.learning.params import arrays_of, fresh_model, layout_of
from muster.learning.task import Task
from muster.learning.trained import trained_module
from muster.node.api.client import TaskReference
from muster.node.trainer.task_session import TaskSession


class Tied(Task):
    name = "tied"

    def model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
        model[3].weight = model[0].weight
        return model


class Arrays(Task):
    name = "arrays"

    def initial(self, seed: int) -> dict[str, Any]:
        return {"w": np.zeros(3, np.float32)}

    def fit(self, arrays: Any, steps: int, seed: int) -> Any:
        return arrays, 1, {}


def exported(task: Task, path: Path) -> nn.Module:
    """A model with the parameters of another seed, and its file."""
    model = fresh_model(task, 77)
    if isinstance(task, Tied):
        model(torch.randn(8, 4))  # statistics move
    layout = layout_of(model)
    save_safetensors(path, layout, arrays_of(model, layout), {})
    return model.eval()


@pytest.mark.parametrize("task", [Digits(), Tied()], ids=["digits", "tied"])
def test_it_computes_what_was_exported(task: Task, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = exported(task, path)
    found = trained_module(task, path)
    assert not found.training
    x = torch.randn(5, 1, 8, 8) if isinstance(task, Digits) else torch.randn(5, 4)
    with torch.no_grad():
        assert torch.equal(found(x), model(x))
        assert not torch.equal(fresh_model(task, 0).eval()(x), model(x))


def test_another_version_of_the_task_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    exported(Tied(), path)
    with pytest.raises(MusterError, match="does not fit the task 'digits'") as caught:
        trained_module(Digits(), path)
    assert caught.value.code == "fingerprint"
    assert len(caught.value.sentence.splitlines()) == 1


def test_a_task_without_a_module_has_none(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="has no torch module"):
        trained_module(Arrays(), tmp_path / "model.safetensors")


class Scaled(nn.Module):
    """Saves something beside its tensors."""

    def get_extra_state(self) -> Any:
        return {"calls": 3}

    def set_extra_state(self, state: Any) -> None:
        pass

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


class Mixed(Task):
    """Frozen, local, constant, changing and lazy tensors, and an extra state."""

    name = "mixed"
    local = ("2.*",)

    def model(self) -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.LazyLinear(5), Scaled(), nn.Linear(5, 3))
        model[0].requires_grad_(False)
        model[4].register_buffer("mask", torch.full((3,), float("-inf")))
        return model

    def training_data(self) -> Any:
        generator = np.random.default_rng(0)
        return generator.normal(size=(64, 4)).astype(np.float32), generator.integers(0, 3, 64)


def test_what_does_not_travel_is_in_it_too(tmp_path: Path) -> None:
    session, nothing = TaskSession(Mixed()), lambda _: None
    start, path = str(tmp_path / "start"), tmp_path / "model.safetensors"
    session.do("initial", {"seed": 5, "source": None, "out": start}, nothing)
    session.do("export", {"base": start, "out": str(path), "format": "safetensors", "metadata": {}}, nothing)
    found = trained_module(Mixed(), path)
    names = set(found.state_dict()) - {"3._extra_state"}
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == names
        assert all(torch.equal(file.get_tensor(name), found.state_dict()[name]) for name in names)
    assert found(torch.zeros(2, 4)).shape == (2, 3)
    tensors = load_file(path)
    for changed, word in (
        ({k: v for k, v in tensors.items() if k != "1.weight"}, "it lacks '1.weight'"),
        ({**tensors, "9.weight": torch.zeros(1)}, "'9.weight' is not known here"),
    ):
        save_file(changed, path)
        with pytest.raises(MusterError, match=word):
            trained_module(Mixed(), path)


def test_a_fault_of_the_task_is_named(tmp_path: Path) -> None:
    class Nothing(Task):
        name = "nothing"

        def model(self) -> Any:
            return 3

    with pytest.raises(MusterError, match="must return a torch") as caught:
        trained_module(Nothing(), tmp_path / "model.safetensors")
    assert caught.value.code == "task_fault"


FILE = """
from torch import nn
from muster import Task

class Mine(Task):
    name = "mine"
    options = {"outputs": 1}

    def model(self):
        return nn.Linear(3, int(self.options["outputs"]))
"""


class FakeClient:
    """Exports a linear layer, and says that its task is a file with an option."""

    def __init__(self, file: Path, outputs: int) -> None:
        self._file, self._outputs = file, outputs

    def task_source(self, task: str) -> TaskReference:
        assert task == "mine"
        return TaskReference(str(self._file), {"outputs": self._outputs})

    def export(self, job: str, to: Path, *, best: bool) -> Any:
        torch.manual_seed(5)
        model = nn.Linear(3, 2)
        layout = layout_of(model)
        save_safetensors(to, layout, arrays_of(model, layout), {})
        return type("Exported", (), {"paths": [str(to)]})


@pytest.mark.parametrize("outputs", [2, 4])
def test_a_result_has_the_module_of_the_nodes_task(outputs: int, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    client: Any = FakeClient(tmp_path / "mine.py", outputs)
    view: Any = type("View", (), {"task": "mine"})
    result = Result("ab" * 32, None, 1, {}, view, client)
    if outputs == 4:
        with pytest.raises(MusterError, match="size mismatch"):
            result.model()
        return
    torch.manual_seed(5)
    same = nn.Linear(3, 2)
    assert torch.equal(result.model().weight, same.weight)

    class Mine(Task):
        name = "mine"

        def model(self) -> nn.Module:
            return nn.Linear(3, 2)

    assert torch.equal(result.model(Mine()).bias, same.bias)
