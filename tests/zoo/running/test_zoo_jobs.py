"""Each task of the zoo in a whole job of three nodes, in virtual time, with a lossy codec and with `auto`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from animals import ZOO, OnePlace, animal, stems
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


def test_a_frozen_backbone_costs_nothing_on_the_air(tmp_path: Path) -> None:
    """LoRA-like: five million frozen weights beside ten thousand trained ones, against the same model without
    the frozen ones in its state_dict."""
    found = animal("lora")
    text = found.path.read_text("utf-8")
    hidden = "self.frozen = (nn.Linear(4, 512), nn.Linear(512, 9766, bias=False))  # no modules of this one"
    alone = text.replace(
        "self.inner, self.wide = nn.Linear(4, 512), nn.Linear(512, 9766, bias=False)", hidden
    )
    alone = alone.replace("self.inner(", "self.frozen[0](").replace("self.wide(", "self.frozen[1](")
    assert alone.count("self.frozen") == 3
    (tmp_path / "alone.py").write_text(alone.replace("self.requires_grad_(False)", "pass"))
    (tmp_path / "clouds.py").write_text((ZOO / "clouds.py").read_text("utf-8"))
    carried = {}
    for name, path in (("whole", found.path), ("alone", tmp_path / "alone.py")):
        folder = tmp_path / name
        folder.mkdir()
        ended = run_job(str(path), folder, found.task, codec="quant8", **{**found.job, "rounds": 2})
        carried[name] = ended.carried_bytes
        assert len(ended.blobs["a"]) < 60_000
    assert carried["whole"] <= 1.05 * carried["alone"]
