from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from muster.cli.main import run as run_command
from muster.compression.benchmark import NAMES
from muster.compression.example import of_mnist
from muster.learning.mnist import Mnist
from muster.learning.params import layout_of


def test_every_codec_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["codec", "bench", "--repeat", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 28_938
    rows = {row["codec"]: row for row in found["codecs"]}
    assert list(rows) == list(NAMES)
    assert rows["dense32"]["relative_error"] == 0
    assert rows["stc:0.0025"]["message_bytes"] < rows["stc:0.05"]["message_bytes"] < 2000
    assert 0 < rows["quant8"]["relative_error"] < rows["stc:0.01"]["relative_error"] < 1


def test_a_model_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.safetensors"
    rng = np.random.default_rng(1)
    save_file({"w": rng.standard_normal((40, 30), np.float32), "steps": np.array([3])}, path)
    assert run_command(["codec", "bench", "--model", str(path), "--repeat", "1"]) == 0
    assert "1,200 parameters" in capsys.readouterr().out


def test_what_is_no_model_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"no model at all")
    for path in (junk, tmp_path / "missing"):
        assert run_command(["codec", "bench", "--model", str(path)]) != 0
        assert str(path) in capsys.readouterr().err


def test_the_default_is_the_layout_of_the_task() -> None:
    assert of_mnist()[0] == layout_of(Mnist(model="cnn29k").model())
