"""Real daemons: a fault of a node's data costs it a round, and an optimiser's state survives its daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from test_two_nodes_e2e import Pair, until

from muster.node.api.client import Client
from patience import patient_s

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HOLEY = """
import numpy as np
from torch.utils.data import Dataset

from muster.learning.digits import Digits


class Rows(Dataset):
    bad = False

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return (np.full_like(self.x[i], np.nan) if self.bad else self.x[i]), self.y[i]


class Holey(Digits):
    name = "holey"
    version = "1"
    options = {**Digits.options, "bad_round": 0}

    def training_data(self):
        self.rows = Rows(*super().training_data())
        return self.rows

    def on_round_begin(self, model, round):
        self.rows.bad = round == self.options["bad_round"]
"""

ADAM = """
from pathlib import Path

import torch

from muster.learning.digits import Digits


class Adam(Digits):
    name = "adam"
    version = "1"
    options = {**Digits.options, "steps_to": ""}

    def configure_optimizers(self, parameters, lr):
        return torch.optim.AdamW(parameters, lr)

    def on_round_end(self, model, round):
        if self.options["steps_to"]:
            [optimiser] = self.optimizers
            steps = max(int(state["step"]) for state in optimiser.state.values())
            with Path(self.options["steps_to"]).open("a") as file:
                file.write(f"{round} {steps}\\n")
"""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    running = Pair(tmp_path)
    yield running
    running.end()


def started(pair: Pair, task: str, code: str, extra: str) -> tuple[Client, Client]:
    """Both daemons, in contact; `extra` settings are those of the task on `ben`."""
    file = pair.folder / f"{task}.py"
    file.write_text(code)
    half = f'[tasks.{task}]\nfile = "{file}"\nsplit = "iid"\nparts = 2\npart = {{}}\n'
    clients = pair.begin("ann", half.format(0)), pair.begin("ben", half.format(1) + extra)
    until(lambda: len(clients[0].snapshot().neighbours) == 1, 30.0)
    return clients


def test_a_node_whose_data_fail_in_one_round_is_asked_again(pair: Pair, tmp_path: Path) -> None:
    ann, _ = started(pair, "holey", HOLEY, "bad_round = 2\n")
    job = ann.train("holey", rounds=4, steps=4, min_nodes=1)
    until(lambda: ann.log(job).job.state != "running", 120.0)
    view = ann.log(job).job
    assert (view.state, view.round) == ("finished", 4), view.why
    nodes = {commit.round: set(commit.nodes) for commit in ann.log(job).commits if commit.counted}
    assert nodes == {1: {"ann", "ben"}, 2: {"ann"}, 3: {"ann", "ben"}, 4: {"ann", "ben"}}
    said = (tmp_path / "ben" / "output.log").read_text("utf-8")
    assert "takes no part in round 2: " in said
    assert "of x holds NaN: correct the data, or set skip_bad_rows = True" in said


def test_an_optimisers_state_survives_its_daemon(pair: Pair, tmp_path: Path) -> None:
    noted = tmp_path / "steps"
    extra = f'steps_to = "{noted}"\n'
    ann, _ = started(pair, "adam", ADAM, extra)

    def counts() -> list[int]:
        lines = noted.read_text().splitlines() if noted.exists() else []
        return [int(line.split()[1]) for line in lines]

    job = ann.train("adam", rounds=8, steps=4, min_nodes=2)
    until(lambda: len(counts()) >= 3, 120.0)
    pair.processes["ben"].kill()
    pair.processes["ben"].wait(patient_s(20))
    before = counts()
    assert before == [4 * (n + 1) for n in range(len(before))]
    file = tmp_path / "adam.py"
    pair.begin("ben", f'[tasks.adam]\nfile = "{file}"\nsplit = "iid"\nparts = 2\npart = 1\n{extra}')
    until(lambda: ann.log(job).job.state != "running", 120.0)
    view = ann.log(job).job
    assert (view.state, view.round) == ("finished", 8), view.why
    after = counts()[len(before) :]
    assert after
    assert after[0] in (before[-1], before[-1] + 4)  # killed in the midst of keeping them, or after it
    assert after == [after[0] + 4 * n for n in range(len(after))]
