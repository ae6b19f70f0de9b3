"""Requests to a session do not disturb each other, and a node's odd data end none of them for good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from muster.errors import MusterError
from muster.learning.faults import TaskFault
from muster.node.trainer.session import Session

HEAD = """
import itertools
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from muster.learning.task import Task

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 3


class Plain(Task):
    name = "plain"
    options = {"count": 60, "label": 0}

    def model(self):
        return nn.Linear(4, 3)

    def training_data(self):
        y = Y.copy()
        y[3] += self.options["label"]
        return X[: self.options["count"]], y[: self.options["count"]]
"""
STATEFUL = """
class Remembering(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head, self.state = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 3), None
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        if self.state is None or self.state.shape[1] != len(x):
            self.state = x.new_zeros(1, len(x), 4)
        self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        out, state = self.gru((x - self.mean)[..., None], self.state)
        self.state = state if not self.training else state.detach()
        return self.head(out[:, -1])

class T(Plain):
    def model(self):
        return Remembering()

    def evaluation_data(self):
        return X[:32], Y[:32]
"""
NORM = """
class T(Plain):
    def model(self):
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
"""
PLAIN = "\nclass T(Plain):\n    pass\n"
RECIPE: dict[str, Any] = {"steps": 4, "lr": 0.1, "batch": 8, "momentum": 0.0, "seed": 3}


class Trainer:
    """A session with a task in a file, and the files of its requests."""

    def __init__(self, folder: Path, code: str, **options: Any) -> None:
        path = folder / "the_task.py"
        path.write_text(HEAD + code)
        self.folder, self.session = folder, Session()
        opening = {"threads": 1, "niceness": 0, "throttle": 1.0}
        self.facts = self.do("open", reference=f"{path}:T", options=options, **opening)
        self.do("initial", out=str(folder / "base"), seed=1, source=None)

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        return self.session.do({"id": 1, "do": what, **arguments}, lambda _: None)

    def train(self, **changes: Any) -> bytes:
        out = self.folder / "out"
        self.do("train", base=str(self.folder / "base"), out=str(out), **(RECIPE | changes))
        return out.read_bytes()

    def evaluate(self, which: str = "common", **changes: Any) -> dict[str, Any]:
        return self.do("evaluate", base=str(self.folder / "base"), which=which, **changes)


def test_training_and_evaluation_leave_nothing_behind(tmp_path: Path) -> None:
    """A state kept in the module, and a buffer that is replaced, are those of a fresh process each time."""
    trainer = Trainer(tmp_path, STATEFUL)
    alone = trainer.train(batch=32)
    measured = trainer.evaluate(limit=32)
    assert trainer.train(batch=32) == alone
    assert trainer.evaluate(limit=32) == measured
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    assert Trainer(fresh, STATEFUL).train(batch=32) == alone


RATE: dict[str, Any] = {"batch": 8, "momentum": 0.0, "seed": 3, "seconds": 60.0}


def test_looking_for_a_rate_leaves_nothing_behind(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, STATEFUL)
    base = tmp_path / "base"
    before, alone = base.read_bytes(), trainer.train(batch=32)
    found = trainer.do("find_rate", base=str(base), **RATE)
    assert 1e-6 < found["lr"] < 32
    assert found["low"] < found["lr"] < found["high"]
    assert (base.read_bytes(), trainer.train(batch=32)) == (before, alone)
    again = trainer.do("find_rate", base=str(base), **RATE)
    assert {**again, "seconds": 0} == {**found, "seconds": 0}


def test_looking_for_a_rate_reports_each_step_and_can_be_ended(tmp_path: Path) -> None:
    trainer, seen = Trainer(tmp_path, PLAIN), list[int]()

    def stop(progress: dict[str, Any]) -> None:
        seen.append(progress["done"])
        if len(seen) == 5:
            raise KeyboardInterrupt

    request = {"id": 1, "do": "find_rate", "base": str(tmp_path / "base"), **RATE}
    with pytest.raises(KeyboardInterrupt):
        trainer.session.do(request, stop)
    assert seen == [0, 1, 2, 3, 4]
    trainer.train()


@pytest.mark.parametrize("count", [1, 2, 3, 33])
def test_a_few_samples_with_batch_norm_take_part(count: int, tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, NORM, count=count)
    assert trainer.facts["samples"] == {1: 1, 2: 2, 3: 2, 33: 30}[count]
    trainer.do("measure_speed", batch=32)
    trainer.train()
    found = trainer.evaluate("own")
    assert found["examples"] == count - trainer.facts["samples"]
    if not found["examples"]:
        assert found["figures"] == {}
        valued = trainer.do("value", before=str(tmp_path / "base"), updates=[], which="own", limit=9)
        assert valued["examples"] == 0


def test_a_label_out_of_range_is_named_with_the_count(tmp_path: Path) -> None:
    words = r"1 of \d+ labels of training_data\(\) are out of range, such as 9: the model has 3 outputs"
    with pytest.raises(TaskFault, match=words):
        Trainer(tmp_path, PLAIN, label=9)


def test_a_loader_without_evaluation_data_has_no_figures(tmp_path: Path) -> None:
    code = """
class T(Plain):
    def training_data(self):
        rows = list(zip(torch.from_numpy(X), torch.from_numpy(Y)))
        return lambda batch, seed: DataLoader(rows, batch, shuffle=True)
"""
    trainer = Trainer(tmp_path, code)
    assert (trainer.facts["samples"], trainer.facts["common"], trainer.facts["classes"]) == (60, 0, [])
    one = trainer.train()
    assert trainer.evaluate("own") == {"examples": 0, "figures": {}}
    assert trainer.train() == one != trainer.train(seed=4)


def test_a_stream_goes_on_in_the_next_round_and_after_a_restart(tmp_path: Path) -> None:
    code = """
class Stream(IterableDataset):
    def __iter__(self):
        return ((torch.full((4,), float(i)), i % 3) for i in range(1000))

class T(Plain):
    seen = []

    def training_data(self):
        return Stream()

    def evaluation_data(self):
        return X[:8], Y[:8]

    def training_step(self, model, batch):
        self.seen += batch[0][:, 0].int().tolist()
        return super().training_step(model, batch)
"""
    local = str(tmp_path / "local" / "job.pt")

    def seen(trainer: Trainer) -> list[int]:
        session: Any = trainer.session._session
        numbers: list[int] = session.opened.task.seen
        found = list(numbers)
        numbers.clear()
        return found

    one = Trainer(tmp_path, code)
    assert one.facts["samples"] == 10_000  # it has no length
    seen(one)
    one.train(local=local)
    assert seen(one) == [*range(32)]
    one.train(local=local)
    assert seen(one) == [*range(32, 64)]
    one.train()  # of another job
    again = Trainer(tmp_path, code)
    seen(again)
    again.train(local=local)
    assert seen(again) == [*range(64, 96)]


def test_an_optimisers_state_is_kept_between_rounds(tmp_path: Path) -> None:
    code = """
class T(Plain):
    def configure_optimizers(self, parameters, lr):
        return torch.optim.Adam(parameters, lr=lr)
"""
    trainer, local = Trainer(tmp_path, code), tmp_path / "local" / "job.pt"
    first = trainer.train(local=str(local))
    assert trainer.train() == first
    assert trainer.train(local=str(local)) != first
    kept = torch.load(local, weights_only=True)["optimizers"]["optimisers"][0]["state"]
    assert float(kept[0]["step"]) == 8.0


def test_a_failed_round_changes_nothing_for_the_next(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, PLAIN)
    before = trainer.train()
    with pytest.raises(TaskFault, match="learning rate"):
        trainer.train(lr=3e38)
    assert trainer.train() == before
    with pytest.raises(MusterError):
        trainer.do("no such request")


def test_metrics_follow_the_targets(tmp_path: Path) -> None:
    code = """
class T(Plain):
    def model(self):
        return nn.Linear(4, 1)

    def training_data(self):
        return X, X[:, 0]
"""
    trainer = Trainer(tmp_path, code)
    assert [name for name, _, _ in trainer.facts["metrics"]] == ["r2", "mae", "loss"]
    assert set(trainer.evaluate("own")["figures"]) == {"r2", "mae", "loss"}


def test_an_undeclared_figure_is_named(tmp_path: Path) -> None:
    code = """
class T(Plain):
    metrics = {"iou": "max"}

    def validation_step(self, model, batch):
        return {"iuo": (1.0, 2)}
"""
    with pytest.raises(TaskFault, match="'iuo'"):
        Trainer(tmp_path, code).evaluate("own")


def test_valuation_takes_the_recipes_batch_and_its_halves(tmp_path: Path) -> None:
    code = """
class T(Plain):
    sizes = []

    def evaluation_data(self):
        return X[:24], Y[:24]

    def training_step(self, model, batch):
        self.sizes.append(len(batch[1]))
        if not model.training and len(batch[1]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().training_step(model, batch)
"""
    trainer = Trainer(tmp_path, code)
    trainer.train()
    session: Any = trainer.session._session
    sizes: list[int] = session.opened.task.sizes
    sizes.clear()
    found = trainer.do("value", before=str(tmp_path / "base"), updates=[], which="common", limit=24)
    assert found["examples"] == 24
    assert max(sizes) == 8
    assert set(sizes) == {8, 4, 2}


def test_rows_that_are_left_out_are_counted(tmp_path: Path) -> None:
    code = """
class T(Plain):
    skip_bad_rows = True

    def training_data(self):
        x = X.copy()
        x[5, 2] = x[7, 0] = np.nan
        return x, Y
"""
    trainer = Trainer(tmp_path, code)
    assert trainer.facts["skipped"] == 2
    assert trainer.facts["samples"] + trainer.evaluate("own")["examples"] == 58


STREAM = """
from torch.utils.data import DataLoader, IterableDataset

class Holey(IterableDataset):
    def __iter__(self):
        for i in range(40):
            x = X[i % len(X)].copy()
            if i % 10 == 3:
                x[0] = np.nan
            yield x, Y[i % len(X)]

class T(Plain):
    skip_bad_rows = True

    def training_data(self):
        return DATA

    def evaluation_data(self):
        return Holey()
"""


@pytest.mark.parametrize("data", ["Holey()", "lambda batch, seed: DataLoader(Holey(), batch)"])
def test_rows_that_are_left_out_batch_by_batch_are_counted(tmp_path: Path, data: str) -> None:
    trainer = Trainer(tmp_path, STREAM.replace("DATA", data))
    assert trainer.facts["skipped"] == 0  # nobody looked at all of them
    base, out = str(tmp_path / "base"), str(tmp_path / "out")
    trainer.do("initial", seed=0, source=None, out=base)
    recipe = {"lr": 0.1, "batch": 10, "momentum": 0.0, "seed": 0}
    trained = trainer.do("train", base=base, out=out, steps=3, **recipe)
    assert (trained["examples"], trained["skipped"]) == (27, 3)
    found = trainer.do("evaluate", base=base, which="common")
    assert (found["examples"], found["skipped"]) == (36, 4)
