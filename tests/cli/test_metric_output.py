"""What commands say of a job that is judged by something else than accuracy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from fakenode import JOB, FakeNode, job_view, snapshot

from muster.cli.main import run
from muster.cli.output import figure
from muster.node.api.snapshot import CommitView, MetricView

Capture = pytest.CaptureFixture[str]
MEASURED = {"perplexity": 12.3456, "loss": math.log(12.3456)}


@pytest.fixture
def reader(alpha: FakeNode) -> FakeNode:
    commit = CommitView("ef" * 32, [], 3, "alpha", 2, ["alpha"], 12.0, None, 2.5, True, figures=MEASURED)
    view = job_view(
        accuracy=None, figures=MEASURED, commits=[commit],
        metrics=[MetricView("perplexity", "min", True), MetricView("loss", "min", False)],
    )  # fmt: skip
    alpha.answers["snapshot"] = lambda request: snapshot(home=str(alpha.home), jobs=[view])
    alpha.answers["log"] = lambda request: {"job": view, "commits": [commit]}
    return alpha


def said(capsys: Capture, *command: str) -> str:
    assert run([*command]) == 0
    return capsys.readouterr().out


def test_all_commands_go_by_the_headline(reader: FakeNode, capsys: Capture) -> None:
    assert "perplexity 12.35, loss 2.513 on held-out data" in said(capsys, "train", "reader")
    assert "perplexity 12.35" in said(capsys, "jobs")
    log = said(capsys, "log", JOB[:8])
    assert "PERPLEXITY" in log.splitlines()[1]
    assert " 12.35 " in log
    assert " 12.35 " in said(capsys, "log", JOB[:8], "--graph")
    assert "accuracy" not in log.lower()


def test_targets_and_stale_rounds_are_passed_on(reader: FakeNode) -> None:
    rules = ["--target", "perplexity=9", "--stop-when", "no better for 5"]
    assert run(["train", "reader", "--detach", *rules]) == 0
    asked: dict[str, Any] = next(r for r in reader.requests if r["op"] == "train")
    assert asked["target"] == "perplexity=9"
    assert asked["stop_when"] == "no better for 5"


def test_the_best_model_is_named(reader: FakeNode, capsys: Capture, tmp_path: Path) -> None:
    to = str(tmp_path / "m.onnx")
    assert "the best commit of those measured, of round 3: accuracy 93.4 %, commit efefefef" in said(
        capsys, "export", JOB[:8], "--to", to, "--best"
    )
    assert reader.requests[-1]["best"] is True


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.9345, "93.5 %"), ("top5_accuracy", 1.0, "100.0 %"), ("loss", 0.20004, "0.2"),
        ("perplexity", 1234.56, "1235"), ("r2", -0.25, "-0.25"), ("mae", 3.1e-7, "3.1e-07"),
        ("loss", None, "-"),
    ],
)  # fmt: skip
def test_a_value_for_people(name: str, value: float | None, text: str) -> None:
    assert figure(name, value) == text
