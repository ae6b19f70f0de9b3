"""Each task of the zoo in a whole job of three nodes, in virtual time, with a lossy codec and with `auto`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from animals import OnePlace, animal, stems
from fleet import run_job

from muster.compression import tensors

WORSE_MAX = 0.1  # than training in one place; half as much again of an error or a perplexity


@pytest.mark.parametrize("codec", ["stc:0.2", "auto"])
@pytest.mark.parametrize("stem", stems())
def test_three_nodes_train_it_together(stem: str, codec: str, tmp_path: Path) -> None:
    found = animal(stem)
    ended = run_job(str(found.path), tmp_path, found.task, codec=codec, **found.job)
    assert ended.rounds == found.job["rounds"], ended.said
    assert not [text for text in ended.said if "takes no part" in text or "no figures" in text]
    assert len(set(ended.blobs.values())) == 1
    alone = OnePlace(found, tmp_path)
    tensors.unpack(alone.layout, ended.blobs["a"])  # refuses what is not finite
    together, pooled = (alone.score(blob) for blob in (ended.blobs["a"], alone.trained()))
    assert math.isfinite(together)
    assert together >= pooled - max(WORSE_MAX, 0.5 * -pooled)


@pytest.mark.parametrize("stem", stems())
def test_a_file_is_short(stem: str) -> None:
    lines = [line for line in animal(stem).path.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) <= 25
