"""Two real daemons: one lacks the backbone's file, gets the frozen part from the other and trains with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_two_nodes_e2e import Pair, until

from muster.errors import MusterError

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SIDE = 1200  # of the backbone's one layer: 5.8 MB
TASK = f"""
from pathlib import Path

import torch
from torch import nn

from muster.learning.digits import Digits

WEIGHTS = Path(__file__).parent / "backbone.pt"


class Adapter(Digits):
    name = "adapter"
    version = "1"

    def model(self):
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, {SIDE}), nn.Tanh(), nn.Linear({SIDE}, {SIDE}))
        if WEIGHTS.is_file():  # a node without it gets them from one that has it
            backbone.load_state_dict(torch.load(WEIGHTS, weights_only=True))
        return nn.Sequential(backbone.requires_grad_(False), nn.Tanh(), nn.Linear({SIDE}, 10))
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    running = Pair(tmp_path)
    yield running
    running.end()


def weights(path: Path) -> None:
    import torch
    from torch import nn

    torch.manual_seed(77)
    torch.save(
        nn.Sequential(nn.Flatten(), nn.Linear(64, SIDE), nn.Tanh(), nn.Linear(SIDE, SIDE)).state_dict(), path
    )


def test_a_node_without_the_backbone_gets_it_and_trains(pair: Pair, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    settings = {}
    for part, name in enumerate(("ann", "ben")):
        (tmp_path / f"{name}-task").mkdir()
        file = tmp_path / f"{name}-task" / "adapter.py"
        file.write_text(TASK)
        settings[name] = f'[tasks.adapter]\nfile = "{file}"\nsplit = "iid"\nparts = 2\npart = {part}\n'
    weights(tmp_path / "ann-task" / "backbone.pt")
    ann, ben = (pair.begin(name, settings[name]) for name in ("ann", "ben"))
    until(lambda: len(ann.snapshot().neighbours) == 1, 30.0)
    job = ann.train("adapter", rounds=2, min_nodes=2)
    until(lambda: ann.log(job).job.state != "running", 120.0)
    view = ann.log(job).job
    assert (view.state, view.round) == ("finished", 2), view.why
    assert {c.node for c in view.contributions if c.updates_counted} == {"ann", "ben"}
    frozen_bytes = 4 * (64 * SIDE + SIDE + SIDE * SIDE + SIDE)
    assert frozen_bytes <= view.sent.frozen < 1.05 * frozen_bytes
    assert view.sent.payload + view.spent_bytes < 0.1 * frozen_bytes
    said = (tmp_path / "ben" / "output.log").read_text("utf-8")
    assert "fetches the frozen part of the task, 6.08 MB, from ann" in said
    until(lambda: ben.log(job).job.head == view.head, 30.0)
    files = {}
    for name, client in (("ann", ann), ("ben", ben)):
        client.export(job, tmp_path / f"{name}.safetensors")
        files[name] = load_file(tmp_path / f"{name}.safetensors")
    assert all(np.array_equal(files["ann"][key], array) for key, array in files["ben"].items())
    # another job that ben asks for from that model has ann's backbone, too; a fresh one has ben's own
    again = ben.train("adapter", rounds=1, min_nodes=2, **{"from": view.head})
    until(lambda: ben.log(again).job.state != "running", 120.0)
    assert ben.log(again).job.state == "finished"
    assert ben.log(again).job.sent.frozen == 0
    with pytest.raises(MusterError):
        ann.export("00", tmp_path / "none.safetensors")
