"""A candidate beside the model in use, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import classifier
from serving_here import BLUE, GREEN, RED, TASK

from muster.errors import EXIT_CODES
from muster.local.local_set import LocalSet
from muster.serving import compare
from muster.serving.answers import answered, classes_of
from muster.serving.models import load_file
from muster.serving.paths import folder_of, local_set_of, models_of
from muster.serving.pointer import use_model
from patience import patient_s

ROWS = ((RED, 0), (RED, 1), (GREEN, 2), (BLUE, 2), (BLUE, 1))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    use_model(folder_of(tmp_path, TASK), "used0000", classifier(tmp_path / "used.onnx"), None, "first")
    with LocalSet.open(local_set_of(tmp_path, TASK)) as local:
        local.add_labelled(np.array(RED, np.float32), 1, held=True)
        local.alarm(9.0, "the answers are less certain")
        for sample, label in ROWS:
            local.add_labelled(np.array(sample, np.float32), label, held=True)
        local.add_labelled(np.array(RED, np.float32), 1, held=False)
    return tmp_path


def ran(home: Path, *more: str, candidate: str = "new.onnx") -> tuple[int, Any]:
    argv = [sys.executable, "-m", "muster.serving.compare", "--home", str(home), "--task", TASK]
    done = subprocess.run(
        [*argv, "--candidate", str(home / candidate), *more], capture_output=True, check=False
    )
    assert done.stderr == b""
    return done.returncode, json.loads(done.stdout)


def test_counts_are_of_held_out_labels_of_this_epoch(home: Path) -> None:
    classifier(home / "new.onnx", 1)  # right on RED 1 and GREEN 2, where the one in use is wrong
    code, found = ran(home)
    assert (code, found) == (
        0,
        {"version": "used0000", "labels": 5, "right": 2, "right_used": 2, "both": 0, "wins": 2, "losses": 2},
    )
    _, found = ran(home, "--since-epoch", "0")
    assert (found["labels"], found["right"], found["wins"]) == (6, 3, 3)


def test_what_cannot_be_compared_is_a_sentence(home: Path) -> None:
    (home / "new.onnx").write_bytes(b"no model")
    code, found = ran(home)
    assert code == EXIT_CODES["bad_data"]
    assert "cannot be loaded" in found["error"]["sentence"]
    classifier(home / "new.onnx", plain=True)
    code, found = ran(home)
    assert code == EXIT_CODES["no_result"]
    assert "gives values and no classes" in found["error"]["sentence"]
    classifier(home / "new.onnx")
    (models_of(folder_of(home, TASK)) / "used0000.onnx").write_bytes(b"bits that fell over")
    code, found = ran(home)
    assert found["error"]["code"] == "bad_data"
    code, found = ran(home / "elsewhere", candidate="../new.onnx")
    assert found["error"]["sentence"] == f"no model is in use for {TASK}: `muster use COMMIT`"


def test_time_is_limited_whatever_a_model_does(home: Path) -> None:
    classifier(home / "new.onnx")
    code = (
        "import sys, time; from muster.serving import compare; compare.rights = lambda *a: time.sleep(60);"
        "sys.exit(compare.main(sys.argv[1:]))"
    )
    argv = ["--home", str(home), "--task", TASK, "--candidate", str(home / "new.onnx"), "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], capture_output=True, check=False, timeout=patient_s(30)
    )
    assert done.returncode == EXIT_CODES["timeout"]
    assert "took over 1 s" in json.loads(done.stdout)["error"]["sentence"]


def test_samples_that_do_not_fit_are_wrong_and_others_are_answered(tmp_path: Path) -> None:
    loaded = load_file(classifier(tmp_path / "a.onnx"), "a")
    rows = [
        np.array(RED, np.float32),
        np.zeros(5, np.float32),
        np.array([0, 0, 9, 0], np.uint8),
        np.array(GREEN),
    ]
    assert answered(loaded, rows) == [0, None, 2, 1]


def test_one_logit_is_two_classes() -> None:
    for output in (np.array([-1.0, 2.0]), np.array([[-1.0], [2.0]])):
        assert classes_of(output) == [0, 1]
    assert classes_of(np.array([[0.0, 3.0, 1.0]])) == [1]


def test_the_process_has_no_torch(home: Path) -> None:
    code = "import sys, muster.serving.compare, muster.serving.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env=dict(os.environ)).returncode == 0
    assert compare.SECONDS > 60
