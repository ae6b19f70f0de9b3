"""The process that says what a node's newest samples look like to its model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from muster.adaptation import likeness
from muster.adaptation.likeness import Reference
from muster.local.limits import Limits
from muster.local.local_set import LocalSet
from muster.local.rows import Answered
from muster.serving.sketching import newest

WIDTH = 3


def sketch_graph(path: Path, *, reference: bool = True) -> Path:
    """The features of a sample are its own numbers."""
    node = helper.make_node("Identity", ["input"], ["sketch"])
    shape = ["n", WIDTH]
    graph = helper.make_graph(
        [node],
        "sketch",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("sketch", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if reference:
        known = Reference(np.zeros(WIDTH), np.ones(WIDTH))
        helper.set_model_props(model, likeness.reference_metadata(known))
    onnx.save(model, path)
    return path


def samples(path: Path, count: int, value: float, start: int = 0) -> None:
    with LocalSet.open(path, Limits(free_bytes=0, per_second=10_000)) as local:
        rows = [
            Answered(f"{start + i}", np.full(WIDTH, value, np.float32), 0, 0.1, "v", 1.0)
            for i in range(count)
        ]
        local.add_answers(rows)


def asked(local: Path, model: Path) -> tuple[int, Any]:
    command = [sys.executable, "-m", "muster.serving.sketching", "--local", str(local), "--model", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def test_the_newest_samples_of_the_epoch_are_sketched(tmp_path: Path) -> None:
    local, model = tmp_path / "a.sqlite", sketch_graph(tmp_path / "m.onnx")
    samples(local, 80, 1.0)
    with LocalSet.open(local) as known:
        known.alarm(9.0, "x")
    samples(local, 60, 3.0, start=100)
    code, found = asked(local, model)
    assert code == 0
    assert found["samples"] == 60
    made = np.frombuffer(bytes.fromhex(found["sketch"]), "<f2")
    assert made.tolist() == [3.0] * WIDTH


def test_labelled_samples_count_as_well(tmp_path: Path) -> None:
    local = tmp_path / "a.sqlite"
    samples(local, 10, 1.0)
    with LocalSet.open(local) as known:
        for i in range(6):
            known.label(f"{i}", 1)
        assert len(newest(known)) == 10


def test_too_few_samples_make_no_sketch(tmp_path: Path) -> None:
    local, model = tmp_path / "a.sqlite", sketch_graph(tmp_path / "m.onnx")
    samples(local, likeness.SAMPLES_MIN - 1, 1.0)
    assert asked(local, model) == (0, {"sketch": "", "samples": 0})


@pytest.mark.parametrize("fault", ["reference", "shape"])
def test_what_cannot_be_sketched_is_one_sentence(tmp_path: Path, fault: str) -> None:
    local, model = tmp_path / "a.sqlite", sketch_graph(tmp_path / "m.onnx", reference=fault != "reference")
    if fault == "shape":
        with LocalSet.open(local, Limits(free_bytes=0)) as known:
            known.add_answers([Answered("a", np.zeros(7, np.float32), 0, 0.1, "v", 1.0)])
    code, found = asked(local, model)
    assert code == 8
    assert found["error"]["code"] == "bad_data"
