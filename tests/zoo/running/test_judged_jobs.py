"""Whole jobs of the zoo that are judged by their metrics: cases in which accuracy was all that there was.

A regression had an accuracy of 0 % and a target that it could never meet; a language model had one of
107.7 %; a segmentation ended in round 0 with 10330 %, and an untrained model was exported.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from animals import animal
from fleet import Ended, run_job

from muster.errors import MusterError


def job(stem: str, folder: Path, **request: object) -> Ended:
    found = animal(stem)
    return run_job(str(found.path), folder, found.task, **{**found.job, **request})


def figures(ended: Ended) -> dict[str, float]:
    head = ended.runner.head()
    assert head is not None
    found = ended.runner.view.figures(head.id)
    assert found is not None
    return found.values(ended.runner.view.job.metrics)


def test_a_regression_has_a_target_that_it_can_meet(tmp_path: Path) -> None:
    ended = job("regression", tmp_path, target=0.9, rounds=30)
    said = re.fullmatch(r"target reached: r2 (0\.9\d+|1)", ended.finished)
    assert said is not None, ended.finished
    assert 0 < ended.rounds < 30
    assert set(figures(ended)) == {"r2", "mae", "loss"}


def test_a_regression_has_no_accuracy_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="no metric 'accuracy', there are r2, mae, loss"):
        job("regression", tmp_path, target="accuracy=0.9")


def test_a_language_model_is_judged_by_its_perplexity(tmp_path: Path) -> None:
    ended = job("char_transformer", tmp_path, target=25, rounds=20)
    assert ended.finished.startswith("target reached: perplexity "), ended.finished
    found = figures(ended)
    assert 1 < found["perplexity"] <= 25
    assert 0 < found["accuracy"] < 1


def test_a_segmentation_reaches_its_target_when_its_pixels_are_right(tmp_path: Path) -> None:
    ended = job("segmentation", tmp_path, target=0.8, rounds=30)
    assert ended.finished.startswith("target reached: accuracy 0."), ended.finished
    assert ended.rounds > 0
    assert 0.8 <= figures(ended)["accuracy"] <= 1


def test_a_job_that_gets_no_better_ends(tmp_path: Path) -> None:
    """On data that a linear model learns to the end in a few rounds."""
    ended = job("adamw", tmp_path, rounds=200, stop_when="no better for 4")
    assert ended.finished.startswith("no better for 4 rounds: the best was accuracy "), ended.finished
    assert 4 <= ended.rounds < 200
