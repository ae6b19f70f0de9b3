"""`muster label` and `muster.label`: people and programs say what samples of a served task are."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

sys.path.insert(0, str(Path(__file__).parents[1] / "serving"))

from onnx_models import classifier

import muster
from muster.cli.main import run as run_command
from muster.cli.showing_samples import shown
from muster.errors import EXIT_CODES, MusterError
from muster.local.limits import Limits
from muster.local.local_set import LocalSet, path_of
from muster.local.rows import Answered
from muster.serving.onnx_metadata import metadata_of
from muster.serving.paths import folder_of
from muster.serving.pointer import use_model

TASK = "colours"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node's home with a model in use, and samples that it was asked about."""
    file, home = classifier(tmp_path / "m.onnx"), tmp_path / "home"
    model = onnx.load(file)
    sample = json.dumps({"dtype": "float32", "shape": [4]})
    helper.set_model_props(model, {"classes": '["red", "green", "blue"]', "task": TASK, "sample": sample})
    onnx.save(model, file)
    use_model(folder_of(home, TASK), "first000", file, None, "first")
    return home


def answered(home: Path, count: int) -> None:
    with LocalSet.open(path_of(home, TASK), Limits(free_bytes=0)) as local:
        local.add_answers(
            [
                Answered(f"r{i}", np.float32([i, 1, 2, 3]), i % 3, i / 100, "first000", 10.0 * i)
                for i in range(count)
            ]
        )


def labels(home: Path) -> dict[str, int]:
    """First value of each labelled sample -> its label."""
    with LocalSet.open(path_of(home, TASK)) as local:
        found = local.labelled()
        return {int(x[0]): int(y) for x, y in zip(found.x, found.y, strict=True)}


def command(monkeypatch: pytest.MonkeyPatch, home: Path, typed: str, *more: str) -> int:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    return run_command(["label", TASK, "--home", str(home), *more])


def test_samples_are_shown_and_get_the_class_that_is_typed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(home, 30)
    assert command(monkeypatch, home, "blue\n1\npink\nred\ns\n0\nq\n") == 0
    out = capsys.readouterr().out
    assert re.search(r"^\d+  1  2  3$", out, re.MULTILINE)
    assert re.search(r"the model said (red|green|blue) \(entropy 0\.\d\d\)", out)
    assert "'pink' is no label: give one of red, green, blue" in out
    assert "4 labelled samples, " in out
    assert "since conditions last changed 4 were compared" in out
    assert sorted(labels(home).values()) == [0, 0, 1, 2]


def test_it_ends_where_nothing_is_left_and_at_the_end_of_the_input(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(home, 3)
    assert command(monkeypatch, home, "red\ns\nred\n") == 0
    assert "there is no other sample to label now" in capsys.readouterr().out
    assert command(monkeypatch, home, "red") == 0
    assert len(labels(home)) == 3
    answered(home, 3)
    assert command(monkeypatch, home, "") == 0
    assert len(labels(home)) == 3


def test_labels_come_from_a_file_by_the_ids_of_requests(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answered(home, 5)
    file = tmp_path / "labels.csv"
    file.write_text("id,label\nr1,blue\nr2,0\ngone,red\n")
    assert command(monkeypatch, home, "", "--from", str(file)) == 0
    assert "2 of 3 samples got their labels" in capsys.readouterr().out
    assert labels(home) == {1: 2, 2: 0}
    for text, why in (
        ("r3,blue\nr4,pink\n", "row 2 of .*'pink' is no label"),
        ("r3\n", "row 1 of .* has 1 values: give id,label"),
    ):
        file.write_text(text)
        assert command(monkeypatch, home, "", "--from", str(file)) == EXIT_CODES["bad_data"]
        assert re.search(why, capsys.readouterr().err)
    assert labels(home) == {1: 2, 2: 0}


def test_a_task_that_was_never_served_has_no_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, tmp_path / "none", "") == EXIT_CODES["no_result"]
    assert "has no samples of colours: serve it first" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_program_labels_samples_of_its_own(home: Path) -> None:
    one = muster.label(TASK, [7, 1, 2, 3], "green", home=home, key="a")
    assert muster.label(TASK, np.float64([7, 1, 2, 3]), 2, home=str(home), key="a") == one
    assert labels(home) == {7: 2}
    with pytest.raises(MusterError, match="a sample has the shape 2, the model takes 4"):
        muster.label(TASK, [1, 2], "green", home=home)
    with pytest.raises(MusterError, match="'pink' is no label"):
        muster.label(TASK, [7, 1, 2, 3], "pink", home=home)
    with pytest.raises(MusterError, match="no model of other is in use here"):
        muster.label("other", [1], 1, home=home)
    with pytest.raises(MusterError, match="no node runs on this machine"):
        muster.label(TASK, [7, 1, 2, 3], "green")


def test_pictures_are_shown_as_blocks_and_rows_as_values() -> None:
    x = np.zeros((8, 10), np.uint8)
    x[2:4, 5] = 255
    lines = shown(x)
    assert (len(lines), lines[2], lines[0]) == (8, " " * 10 + "@@" + " " * 8, " " * 20)
    assert shown(np.stack([x] * 3)) == shown(np.stack([x] * 3, 2)) == lines
    assert max(map(len, shown(np.random.default_rng(0).random((300, 400))))) <= 96
    assert shown(np.float32([1, 0.25, -3e9])) == ["1  0.25  -3e+09"]
    many = shown(np.arange(100.0))
    assert many[-1].endswith(" and 60 more")
    assert all(len(line) < 110 for line in many)


def test_what_a_model_says_is_read_without_its_graph(home: Path, tmp_path: Path) -> None:
    said = metadata_of(folder_of(home, TASK) / "models" / "first000.onnx")
    assert said["task"] == TASK
    whole = (folder_of(home, TASK) / "models" / "first000.onnx").read_bytes()
    broken = tmp_path / "broken.onnx"
    for data in (b"no model at all" * 9, whole[: len(whole) // 2], b"\xff" * 40):
        broken.write_bytes(data)
        with pytest.raises(MusterError, match="is no ONNX file"):
            metadata_of(broken)
