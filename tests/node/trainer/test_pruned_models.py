"""A trainer that works with the models of pruned commits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.magnitude import by_magnitude
from muster.algorithms.slimming.structure import Structure
from muster.compression import parse, tensors
from muster.compression.model import encode_update
from muster.compression.tensors import Layout
from muster.learning.faults import TaskFault
from muster.node.trainer.session import Session

TASK = """
import numpy as np
import torch
from torch import nn
from muster.learning.task import Task

X = np.random.default_rng(0).normal(size=(60, 1, 8, 8)).astype(np.float32)


class T(Task):
    name = "t"

    def training_data(self):
        return X, (X[:, 0, 0, 0] > 0).astype(np.int64)

    def model(self):
        return nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
            nn.Linear(6 * 64, 8), nn.ReLU(),
            nn.Linear(8, 2),
        )

    def configure_optimizers(self, parameters, lr):
        return torch.optim.SGD(parameters, lr, momentum=0.9)
"""
RECIPE: dict[str, Any] = {"steps": 3, "lr": 0.05, "batch": 8, "momentum": 0.0, "seed": 1}


class Trainer:
    def __init__(self, folder: Path) -> None:
        source = folder / "t.py"
        source.write_text(TASK)
        self.folder, self.session = folder, Session()
        self.session.do(
            {
                "do": "open",
                "reference": str(source),
                "options": {},
                "threads": 1,
                "niceness": 0,
                "throttle": 1.0,
            },
            lambda _: None,
        )
        facts = self.do("describe")
        layout, structure = (
            Layout.from_plain(facts["layout"]),
            Structure.from_plain(self.do("structure")["groups"]),
        )
        self.whole = Form.of(layout, structure, b"")
        start = folder / "start"
        self.do("initial", seed=1, source=None, out=str(start))
        arrays = tensors.read(layout, start)
        self.half = Form(layout, structure, by_magnitude(arrays, structure, 0.5, self.whole.shape))
        self.start, self.small = start, folder / "small"
        tensors.write(self.half.layout, self.small, dict(self.half.params(arrays, self.whole)))

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        return self.session.do({"do": what, **arguments}, lambda _: None)

    def train(self, base: Path, out: str, **more: Any) -> Path:
        self.do(
            "train",
            base=str(base),
            out=str(self.folder / out),
            local=str(self.folder / "local.pt"),
            **RECIPE,
            **more,
        )
        return self.folder / out


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


def test_a_pruned_model_is_trained_measured_valued_and_exported_as_the_small_one_that_it_is(
    trainer: Trainer,
) -> None:
    kept = trainer.half.to_bytes()
    assert trainer.half.layout.parameters < 0.5 * trainer.whole.layout.parameters
    update = tensors.read(trainer.half.layout.changes, trainer.train(trainer.small, "update", shape=kept))
    assert update["0.weight"].shape[0] == 3
    assert any(a.any() for a in update.values())
    wide = tensors.read(trainer.whole.layout.changes, trainer.train(trainer.start, "wide"))
    assert trainer.do("evaluate", base=str(trainer.small), which="own", shape=kept)["examples"] == 6
    messages = [
        [0.5, encode_update(parse("dense32"), trainer.half.layout, update), kept],
        [0.5, encode_update(parse("dense32"), trainer.whole.layout, wide), b""],  # made before it was pruned
    ]
    values = trainer.do(
        "value", before=str(trainer.small), updates=messages, which="own", limit=50, shape=kept
    )
    assert len(values["values"]) == 2
    assert all(values["values"])
    for name in ("m.safetensors", "m.onnx"):
        out = str(trainer.folder / name)
        trainer.do("export", base=str(trainer.small), out=out, format=name[2:], metadata={}, shape=kept)
    assert load_file(trainer.folder / "m.safetensors")["4.weight"].shape == (4, 3 * 64)
    session = onnxruntime.InferenceSession(str(trainer.folder / "m.onnx"))
    [found] = session.run(None, {session.get_inputs()[0].name: np.zeros((5, 1, 8, 8), np.float32)})
    assert found.shape == (5, 2)


def test_the_state_of_optimisers_is_dropped_when_the_model_is_pruned(trainer: Trainer) -> None:
    trainer.train(trainer.start, "one")
    kept = trainer.half.to_bytes()
    after = trainer.train(trainer.small, "two", shape=kept).read_bytes()
    (trainer.folder / "local.pt").unlink()
    assert trainer.train(trainer.small, "three", shape=kept).read_bytes() == after  # began anew
    assert trainer.train(trainer.small, "four", shape=kept).read_bytes() != after  # went on


def test_a_pruned_model_becomes_one_of_a_width(trainer: Trainer) -> None:
    trainer.do("take_width", width=0.25)
    layout = Layout.from_plain(trainer.do("describe")["layout"])
    out = trainer.folder / "quarter"
    trainer.do("narrow", base=str(trainer.small), width=1.0, out=str(out), was=trainer.half.to_bytes())
    assert tensors.read(layout, out)["0.weight"].shape[0] == 2


def test_the_shape_of_another_model_is_refused(trainer: Trainer) -> None:
    with pytest.raises(TaskFault, match="not that of the task here"):
        trainer.train(trainer.small, "update", shape=bytes(8) + b"\xff")
