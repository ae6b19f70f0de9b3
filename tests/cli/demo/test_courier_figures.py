"""What the courier's story compares: everybody present, and the models of its acts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from muster.cli.demo.report import CourierFigures, Measured
from muster.cli.demo.stories import courier_figures
from muster.cli.demo.views.summary import print_acts

NAMES = [f"node{number}" for number in range(5)]


def question(**more: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "task": "digits",
        "options": {"split": "alone:2:2", "seed": 0},
        "recipe": {"lr": 0.1, "batch": 16, "seed": 1, "momentum": 0.0, "lr_end": 1.0, "average": 1},
        "rounds": 8,
        "steps": 20,
        "names": NAMES,
        "posts": NAMES[3:],
        "acts": [],
    }
    return plain | more


@pytest.mark.slow
def test_models_are_measured_on_all_classes_and_on_those_of_the_posts(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from muster.learning.digits import Digits
    from muster.learning.params import fresh_model

    save_file(fresh_model(Digits(), 1).state_dict(), tmp_path / "new.safetensors")
    found = courier_figures.main(question(acts=[["untrained", str(tmp_path / "new.safetensors")]]))
    assert sorted(found["classes"]) == ["node3", "node4"]
    assert [len(labels) for labels in found["classes"].values()] == [2, 2]
    present, untrained = found["rows"]
    assert present["title"] == "everybody present"
    assert present["accuracy"] > 0.8
    assert present["accuracy_posts"] > 0.6
    assert untrained["title"] == "untrained"
    assert untrained["accuracy"] < 0.4


def test_the_table_names_who_has_which_classes() -> None:
    rows = [Measured("everybody present", 0.971, 0.964), Measured("updates alone", 0.585, 0.0)]
    out = io.StringIO()
    print_acts(CourierFigures({"golf": [3, 7], "hotel": [0, 5]}, rows), out)
    lines = [" ".join(line.split()) for line in out.getvalue().splitlines()]
    assert lines[0] == "model all classes those of golf (3, 7) and hotel (0, 5)"
    assert lines[1:] == ["everybody present 97.1 % 96.4 %", "updates alone 58.5 % 0.0 %"]
