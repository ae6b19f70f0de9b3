"""A trainer that works with smaller models of its task, made by slicing or by the task itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file, save_file

from muster.compression import tensors
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.learning.digits import Digits
from muster.learning.faults import TaskFault
from muster.learning.trained import trained_module
from muster.node.trainer.session import Session

HEAD = """
import numpy as np
import torch
from torch import nn
from muster.learning.task import Task

X = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)


class T(Task):
    name = "t"

    def training_data(self):
        return X, (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
"""
MLP = (
    HEAD
    + """
    def model(self):
        return nn.Sequential(nn.Linear(6, 400), nn.ReLU(), nn.Linear(400, 3))
"""
)
OWN = (
    HEAD
    + """
    def model(self, width=1.0):
        hidden = round(20 * width) + 1
        class Own(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(6, hidden), nn.Linear(hidden, 3)
            def forward(self, x):
                return self.b(torch.relu(self.a(x)).reshape(-1, hidden))
        return Own()
"""
)
GIVEN = (
    HEAD
    + """
    def model(self):
        made = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
        with torch.no_grad():
            made[0].weight.copy_(torch.tensor([1.0, 4.0, 2.0, 3.0])[:, None].expand(4, 6))
            made[2].weight.fill_(1.0)
        return made
"""
)
ALONE = (
    HEAD
    + """
    def model(self):
        return nn.Linear(6, 3)
"""
)
BROKEN = (
    HEAD
    + """
    def model(self):
        return nn.Bilinear(6, 6, 8)

    def training_step(self, model, batch):
        loss = model(batch[0], batch[0]).square().mean()
        loss.backward()
        self.optimizers[0].step()
        return loss

    automatic_optimization = False

    def configure_optimizers(self, parameters, lr):
        return torch.optim.SGD(parameters, lr)

    def validation_step(self, model, batch):
        return {"loss": (0.0, 1)}
"""
)
HALF_FROZEN = (
    HEAD
    + """
    options = {"value": 0.0}

    def model(self):
        made = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
        made[0].requires_grad_(False)
        nn.init.constant_(made[0].weight, float(self.options["value"]))
        return made
"""
)


class Trainer:
    """A session with a task in a file, or with an installed one, and the files of its requests."""

    def __init__(self, folder: Path, code: str = "", reference: str = "", **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        path = folder / "the_task.py"
        path.write_text(code)
        self.folder, self.session = folder, Session()
        opening = {"threads": 1, "niceness": 0, "throttle": 1.0}
        self.facts = self.do("open", reference=reference or f"{path}:T", options=options, **opening)
        self.layout = Layout.from_plain(self.facts["layout"])

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        return self.session.do({"id": 1, "do": what, **arguments}, lambda _: None)

    def take(self, width: float) -> Layout:
        facts = self.do("take_width", width=width)
        assert facts["fingerprint"] == self.facts["fingerprint"]
        self.layout = Layout.from_plain(facts["layout"])
        return self.layout

    def initial(self, name: str = "base", seed: int = 1, source: Path | None = None) -> Path:
        out = self.folder / name
        self.do("initial", out=str(out), seed=seed, source=None if source is None else str(source))
        return out

    def arrays(self, path: Path) -> dict[str, Any]:
        return dict(tensors.read(self.layout, path))

    def hidden(self) -> int:
        return self.layout.tensors[0].shape[0]


RECIPE: dict[str, Any] = {"steps": 3, "lr": 0.1, "batch": 8, "momentum": 0.0, "seed": 3}


def test_a_job_of_half_width_trains_measures_and_exports_a_real_smaller_model(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, reference="digits")
    whole = trainer.layout
    half = trainer.take(0.5)
    assert [s.shape for s in half.tensors] == [(8, 1, 3, 3), (8,), (10, 128), (10,)]
    base = trainer.initial()
    trainer.do("train", base=str(base), out=str(tmp_path / "out"), **RECIPE)
    assert tensors.read(half.changes, tmp_path / "out").keys() == half.by_name.keys()
    measured = trainer.do("evaluate", base=str(base), which="common", limit=50)
    assert measured["examples"] == 50
    assert trainer.do("measure_speed", batch=8)["step_s"] > 0
    for kind in ("safetensors", "onnx"):
        out = str(tmp_path / f"model.{kind}")
        said = {"muster": "1", "width": "0.5"}
        trainer.do("export", base=str(base), out=out, format=kind, metadata=said)
    assert load_file(tmp_path / "model.safetensors")["4.weight"].shape == (10, 128)
    running = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    [given] = running.get_inputs()
    assert running.run(None, {given.name: np.zeros((3, 1, 8, 8), np.float32)})[0].shape == (3, 10)
    found = trained_module(Digits(), tmp_path / "model.safetensors")
    x = torch.randn(3, 1, 8, 8)
    opened = trainer.session._session.opened  # type: ignore[union-attr]
    assert torch.equal(found(x), opened.loaded(trainer.arrays(base)).eval()(x))
    assert trainer.take(1.0) == whole


def test_every_node_makes_the_same_first_model_of_a_seed(tmp_path: Path) -> None:
    one, other = Trainer(tmp_path / "a", MLP), Trainer(tmp_path / "b", MLP)
    one.take(0.5), other.take(0.25), other.take(0.5)
    first = one.initial(seed=7).read_bytes()
    assert other.initial(seed=7).read_bytes() == first
    assert one.initial(seed=8).read_bytes() != first


def test_a_slice_of_drawn_weights_gives_outputs_as_large_as_the_whole_model(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, MLP)
    wide = trainer.arrays(trainer.initial())["2.weight"]
    trainer.take(0.25)
    narrow = trainer.arrays(trainer.initial())["2.weight"]
    assert narrow.shape == (3, 100)
    assert np.std(narrow) == pytest.approx(2 * np.std(wide), rel=0.1)


def test_weights_that_the_task_brings_are_kept_by_their_size_and_as_they_are(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, GIVEN)
    trainer.take(0.5)
    arrays = trainer.arrays(trainer.initial())
    assert arrays["0.weight"][:, 0].tolist() == [4, 3]
    assert arrays["2.weight"].tolist() == [[1, 1]] * 3


def test_a_model_that_takes_a_width_builds_itself(tmp_path: Path) -> None:
    """This one could not be sliced: its forward has the number of its features."""
    trainer = Trainer(tmp_path, OWN)
    trainer.initial("wide")
    trainer.take(0.5)
    assert trainer.hidden() == 11
    base = trainer.initial()
    trainer.do("train", base=str(base), out=str(tmp_path / "out"), **RECIPE)
    out, said = tmp_path / "model.safetensors", {"muster": "1", "width": "0.5"}
    trainer.do("export", base=str(base), out=str(out), format="safetensors", metadata=said)
    task = trainer.session._session.opened.whole.task  # type: ignore[union-attr]
    assert trained_module(task, out)(torch.zeros(4, 6)).shape == (4, 3)
    with pytest.raises(MusterError, match=r"at width 0\.5 cannot begin from its model at width 1"):
        trainer.do("narrow", base=str(tmp_path / "wide"), width=1.0, out=str(tmp_path / "narrow"))
    free = Trainer(tmp_path / "free", OWN.replace(".reshape(-1, hidden)", ""))
    rows = {tuple(row) for row in free.arrays(free.initial("wide"))["a.weight"]}
    free.take(0.5)
    free.do("narrow", base=str(tmp_path / "free" / "wide"), width=1.0, out=str(tmp_path / "narrow"))
    assert {tuple(row) for row in free.arrays(tmp_path / "narrow")["a.weight"]} < rows


def test_a_wider_model_is_narrowed_by_magnitude(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, MLP)
    wide = trainer.arrays(trainer.initial("wide"))
    trainer.take(0.5)
    trainer.do("narrow", base=str(tmp_path / "wide"), width=1.0, out=str(tmp_path / "half"))
    half = trainer.arrays(tmp_path / "half")
    size = np.abs(wide["0.weight"]).sum(1) + np.abs(wide["2.weight"]).sum(0)
    kept = np.sort(np.argsort(-size)[:200])
    assert np.array_equal(half["0.weight"], wide["0.weight"][kept])
    assert np.array_equal(half["2.weight"], wide["2.weight"][:, kept])
    trainer.take(0.25)
    trainer.do("narrow", base=str(tmp_path / "half"), width=0.5, out=str(tmp_path / "quarter"))
    again = np.sort(np.argsort(-size)[:100])
    assert np.array_equal(trainer.arrays(tmp_path / "quarter")["0.weight"], wide["0.weight"][again])


def test_a_file_may_hold_the_whole_model_or_the_smaller_one(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, MLP)
    wide = trainer.arrays(trainer.initial("wide"))
    save_file(wide, tmp_path / "wide.safetensors")
    trainer.take(0.5)
    trainer.do("narrow", base=str(tmp_path / "wide"), width=1.0, out=str(tmp_path / "half"))
    half = trainer.arrays(tmp_path / "half")
    save_file(half, tmp_path / "half.safetensors")
    for name in ("wide", "half"):
        found = trainer.arrays(trainer.initial("found", source=tmp_path / f"{name}.safetensors"))
        assert all(np.array_equal(found[n], half[n]) for n in half)
    save_file({"0.weight": wide["0.weight"]}, tmp_path / "odd.safetensors")
    with pytest.raises(MusterError, match=r"has no tensor '0\.bias'"):
        trainer.initial("found", source=tmp_path / "odd.safetensors")


def test_what_is_frozen_stays_whole_and_is_the_jobs(tmp_path: Path) -> None:
    one, other = Trainer(tmp_path / "a", HALF_FROZEN, value=1.0), Trainer(tmp_path / "b", HALF_FROZEN)
    one.do("frozen", out=str(tmp_path / "frozen"))
    other.take(0.5)
    other.do("take_frozen", path=str(tmp_path / "frozen"), fingerprint=one.facts["fingerprint"])
    opened = other.session._session.opened  # type: ignore[union-attr]
    assert torch.equal(opened.pristine.state_dict()["0.weight"], torch.ones(8, 6))
    assert [s.shape for s in opened.layout.tensors] == [(3, 8), (3,), (3, 3), (3,)]
    assert other.do("describe")["fingerprint"] == one.facts["fingerprint"]


def test_a_task_without_a_width_says_so_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="no layer whose width muster can change") as found:
        Trainer(tmp_path / "a", ALONE).take(0.5)
    assert found.value.code == "usage"
    with pytest.raises(TaskFault, match="cannot be taken apart"):
        Trainer(tmp_path / "b", BROKEN).take(0.5)
