"""What the page shows of samples that wait for labels, and what becomes of a label."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pytest

from muster.errors import MusterError
from muster.local.limits import Limits
from muster.local.local_set import LocalSet
from muster.local.rows import Answered
from muster.node.field.by_hand.label import give_label, to_label
from muster.serving.paths import local_set_of
from muster.serving.settings import ServeConfig

TASK, CONFIG = "digits", ServeConfig()


def keep(home: Path, *xs: np.ndarray) -> None:
    with LocalSet.open(local_set_of(home, TASK), Limits(free_bytes=0)) as local:
        local.add_answers([Answered(f"{i}", x, 3, 0.9 - i / 10, "v", 1.0 + i) for i, x in enumerate(xs)])


def test_pictures_are_bytes_and_other_samples_are_text(tmp_path: Path) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    colours = np.zeros((3, 5, 4), np.float32)
    colours[0] = 1.0
    keep(tmp_path, grey, colours, np.float32([1.5, -2]))
    first, second, third = sorted(to_label(tmp_path, TASK, 10, CONFIG).samples, key=lambda s: s.id)
    assert (first.width, first.height, first.channels, first.answer) == (8, 6, 1, 3)
    pixels = np.frombuffer(base64.b64decode(first.pixels), np.uint8)
    assert (pixels[0], pixels[-1], len(pixels)) == (0, 255, 48)
    assert (second.width, second.height, second.channels) == (4, 5, 3)
    assert base64.b64decode(second.pixels)[:6] == bytes([255, 0, 0, 255, 0, 0])
    assert (third.pixels, third.text) == ("", "1.5  -2")


def test_a_label_is_kept_and_one_for_nothing_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, np.zeros((4, 4), np.uint8))
    (sample,) = to_label(tmp_path, TASK, 10, CONFIG).samples
    give_label(tmp_path, TASK, sample.id, 7, True, CONFIG)
    with LocalSet.open(local_set_of(tmp_path, TASK)) as local:
        assert local.labelled(held=True).y.tolist() == [7]
    assert not to_label(tmp_path, TASK, 10, CONFIG).samples
    with pytest.raises(MusterError, match="not kept any more") as raised:
        give_label(tmp_path, TASK, 999, 7, None, CONFIG)
    assert raised.value.code == "no_result"


def test_a_task_without_samples(tmp_path: Path) -> None:
    with pytest.raises(MusterError, match="they come with requests"):
        to_label(tmp_path, TASK, 10, CONFIG)
    assert not (tmp_path / "local").exists()
