"""What the trainer's session does with tensors that do not travel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from muster.compression import tensors
from muster.compression.change import Sum
from muster.compression.codecs.families import parse
from muster.compression.model import encode_update
from muster.learning.export import metadata_of
from muster.learning.faults import TaskFault
from muster.learning.task import Task
from muster.node.trainer.task_session import TaskSession

RECIPE: dict[str, Any] = {"steps": 4, "lr": 0.1, "batch": 8, "momentum": 0.0, "seed": 1}


class Rarely(nn.Module):
    """A buffer that changes every fifth call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_buffer("fifths", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.calls == 5:
            self.fifths += 1
        return x


class Own(Task):
    name = "own"
    local: Any = ("head.*", "norm.*")
    rows = 40

    def model(self) -> nn.Module:
        found = nn.Sequential()
        found.backbone = nn.Linear(6, 8).requires_grad_(False)
        found.norm, found.body = nn.BatchNorm1d(8), nn.Linear(8, 4)
        found.head = nn.Linear(4, 2)
        found.register_buffer("mask", torch.full((2, 2), -torch.inf))
        return found

    def training_data(self) -> Any:
        x = np.random.default_rng(self.seed).normal(size=(self.rows, 6)).astype(np.float32)
        return x, (x[:, 0] > 0).astype(np.int64)

    def evaluation_data(self) -> Any:
        return self.training_data()


class Node:
    """A session with a folder of its own."""

    def __init__(self, task: Task, folder: Path) -> None:
        folder.mkdir()
        self.session, self.folder = TaskSession(task), folder
        self.layout = self.session.opened.layout

    def do(self, what: str, **request: Any) -> dict[str, Any]:
        return self.session.do(what, {**request, "local": str(self.folder / "local.pt")}, lambda _: None)

    def round(self, base: Path) -> Path:
        """Train on `base`; the model that comes out."""
        update, after = self.folder / "update", self.folder / "after"
        self.do("train", base=str(base), out=str(update), **RECIPE)
        change = tensors.read(self.layout.changes, update)
        tensors.write(self.layout, after, dict(Sum(self.layout, tensors.read(self.layout, base), change)))
        return after

    def exported(self, base: Path) -> dict[str, Any]:
        out = self.folder / "out.safetensors"
        self.do("export", base=str(base), out=str(out), format="safetensors", metadata={})
        return load_file(out)


def start(node: Node, seed: int = 0) -> Path:
    out = node.folder / f"start{seed}"
    node.do("initial", seed=seed, source=None, out=str(out))
    return out


def test_local_tensors_stay_on_their_node_over_rounds_and_restarts(tmp_path: Path) -> None:
    a = Node(Own(), tmp_path / "a")
    assert [s.name for s in a.layout.tensors] == ["body.weight", "body.bias"]
    first = a.exported(start(a))
    assert set(first) == set(Own().model().state_dict())  # frozen, constant and local ones, too
    model = a.round(start(a))
    once = a.exported(model)
    assert not np.array_equal(once["head.weight"], first["head.weight"])
    assert not np.array_equal(once["norm.running_mean"], first["norm.running_mean"])
    assert np.array_equal(once["backbone.weight"], first["backbone.weight"])
    restarted = Node.__new__(Node)
    restarted.session, restarted.folder, restarted.layout = TaskSession(Own()), a.folder, a.layout
    again = restarted.exported(model)
    assert all(np.array_equal(again[name], once[name]) for name in once)
    other = Node(Own(seed=3), tmp_path / "b").exported(model)
    assert np.array_equal(other["head.weight"], first["head.weight"])
    assert np.array_equal(other["body.weight"], once["body.weight"])
    twice = restarted.exported(restarted.round(model))
    assert not np.array_equal(twice["head.weight"], once["head.weight"])


def test_what_is_not_trained_does_not_follow_the_jobs_seed(tmp_path: Path) -> None:
    a = Node(Own(), tmp_path / "a")
    zero, nine = a.exported(start(a, 0)), a.exported(start(a, 9))
    assert not np.array_equal(zero["body.weight"], nine["body.weight"])
    same = [name for name in zero if not name.startswith("body")]
    assert all(zero[name].tobytes() == nine[name].tobytes() for name in same)
    assert len(same) == 10


def test_a_start_from_a_file_has_this_nodes_own_tensors_too(tmp_path: Path) -> None:
    before, a, b = (Node(Own(seed=n), tmp_path / name) for n, name in ((1, "before"), (2, "a"), (3, "b")))
    model = before.round(start(before))
    given = before.exported(model)
    file, out = before.folder / "out.safetensors", tmp_path / "base"
    own = str(a.folder / "local.pt")
    said = a.do("initial", seed=0, source=str(file), out=str(out), own_out=own)["said"]
    assert "2 tensors taken, 7 of this node's own, 3 that do not travel" in said
    taken, others = a.exported(out), b.exported(out)
    assert all(np.array_equal(taken[name], array) for name, array in given.items())
    assert not np.array_equal(others["head.weight"], given["head.weight"])
    a.do("initial", seed=0, source=str(file), out=str(out), own_out=own, fresh=["head.*"])
    assert np.array_equal(a.exported(out)["head.weight"], others["head.weight"])


def test_a_buffer_that_changes_later_is_named(tmp_path: Path) -> None:
    class Late(Own):
        local: Any = ()

        def model(self) -> nn.Module:
            found = super().model()
            found.rarely = Rarely()
            return found

    a = Node(Late(), tmp_path / "a")
    base = start(a)
    a.round(base)  # four steps
    with pytest.raises(TaskFault, match=r"rarely\.fifths changed in training, but not in the 2 steps"):
        a.do("train", base=str(base), out=str(tmp_path / "x"), **{**RECIPE, "steps": 5})
    a.round(base)  # one round is lost, no more


def test_one_sample_finds_the_same_buffers_to_change_as_many(tmp_path: Path) -> None:
    class Shared(Own):
        local: Any = ()

    class One(Shared):
        rows = 1

    many, one = (TaskSession(task) for task in (Shared(), One()))
    assert many.facts()["fingerprint"] == one.facts()["fingerprint"]


def test_a_session_says_what_differs(tmp_path: Path) -> None:
    class Shared(Own):
        local: Any = ()

    class Other(Shared):
        def model(self) -> nn.Module:
            found = super().model()
            with torch.no_grad():
                found.backbone.weight += 1e-3
            return found

    mine, other = TaskSession(Shared()), TaskSession(Other())
    said = mine.do("differs", {"fingerprint": other.facts()["fingerprint"]}, lambda _: None)["sentence"]
    assert said.startswith("what is frozen or constant in the model of the task 'own' is not the same here")


class Adapters(Task):
    """Five million parameters that are frozen, and ten thousand that are trained."""

    name = "adapters"
    width, frozen = 625, True
    classes = ("no", "yes")

    def model(self) -> nn.Module:
        found = nn.Sequential()
        if self.frozen:
            found.base = nn.Sequential(nn.Linear(625, 8000), nn.BatchNorm1d(8000)).requires_grad_(False)
            found.base.register_buffer("table", torch.arange(9000.0))
        found.down, found.up = nn.Linear(8000, 1, bias=False), nn.Linear(1, 500)
        found.head = nn.Linear(500, 2)
        return found

    def training_data(self) -> Any:
        x = np.random.default_rng(0).normal(size=(8, self.width))
        return x.astype(np.float32), np.arange(8) % 2

    def evaluation_data(self) -> Any:
        return self.training_data()


class AdaptersAlone(Adapters):
    width, frozen = 8000, False


@pytest.mark.parametrize("codec", ["dense32", "stc:0.05", "quant4"])
def test_a_frozen_base_is_in_no_start_and_no_update(tmp_path: Path, codec: str) -> None:
    """All that travels in a job: the first model, each node's updates and the commits' changes."""
    sizes = []
    for node in (Node(Adapters(), tmp_path / "a"), Node(AdaptersAlone(), tmp_path / "b")):
        base, update = start(node), tmp_path / "update"
        node.do("train", base=str(base), out=str(update), **RECIPE)
        message = encode_update(parse(codec), node.layout, tensors.read(node.layout.changes, update))
        sizes.append((base.stat().st_size, len(message)))
    (whole, message), (whole_alone, message_alone) = sizes
    assert whole <= 1.05 * whole_alone < 45_000
    assert message <= 1.05 * message_alone + 8


def test_an_export_has_the_frozen_base_and_what_the_task_says_of_it(tmp_path: Path) -> None:
    node = Node(Adapters(), tmp_path / "a")
    assert sum(array.size for array in node.exported(start(node)).values()) > 5_000_000
    assert metadata_of(node.folder / "out.safetensors")["classes"] == '["no", "yes"]'
