"""A trainer child makes samples of what it trains on, and takes from others only what its task could have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.coresets.coding.codec import decode, encode
from muster.coresets.coreset import Coreset, Space
from muster.coresets.exchange import make
from muster.errors import MusterError
from muster.learning.faults import TaskFault
from muster.learning.shared_samples import travelling
from muster.node.trainer.session import Session

HEAD = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import IterableDataset
from muster.learning.task import Task

RNG = np.random.default_rng(0)
Y = np.arange(200) % 4
X = (RNG.normal(size=(200, 6)) + Y[:, None]).astype(np.float32)
X[:, 0] = np.arange(200)  # tells which one it is


class Own(Task):
    name = "own"
    def model(self):
        return nn.Linear(6, 4)
    def training_data(self):
        return X, Y
"""
CODES = {
    "classes": "class T(Own): pass",
    "few_labels": """
class T(Own):
    def training_data(self):
        return X[Y < 2], Y[Y < 2]
""",
    "numbers": """
class T(Own):
    def model(self):
        return nn.Linear(6, 1)
    def training_data(self):
        return X, X.sum(1).astype(np.float64).reshape(-1, 1)
""",
    "binary": """
class T(Own):
    def model(self):
        return nn.Linear(6, 1)
    def training_data(self):
        return X, Y % 2
""",
    "half": """
class T(Own):
    def training_data(self):
        return torch.from_numpy(X).half(), Y.astype(np.uint8)
    def training_step(self, model, batch):
        return self.loss(model(batch[0].float()), batch[1].long())
    def validation_step(self, model, batch):
        return {"accuracy": (1.0, 1.0)}
""",
    "private": """
class T(Own):
    def coreset_space(self, x, y):
        return None
""",
    "dict": """
class T(Own):
    def training_data(self):
        return {"input": X, "labels": Y}
    def training_step(self, model, batch):
        return nn.functional.cross_entropy(model(batch["input"]), batch["labels"])
    def validation_step(self, model, batch):
        return {"accuracy": (1.0, 1.0)}
""",
    "stream": """
class Stream(IterableDataset):
    def __iter__(self):
        return iter([(x, y) for x, y in zip(X, Y)])
class T(Own):
    def training_data(self):
        return Stream()
    def evaluation_data(self):
        return X[:8], Y[:8]
""",
    "wrong_space": """
class T(Own):
    def coreset_space(self, x, y):
        return "all of it"
""",
    "fit": """
class T(Task):
    name = "fit"
    def initial(self, seed):
        return {"w": np.zeros(3, np.float32)}
    def fit(self, arrays, steps, seed):
        return arrays, 10, {"loss": 1.0}
""",
}


class Trainer:
    def __init__(self, folder: Path, code: str, **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        path = folder / "the_task.py"
        path.write_text(HEAD + CODES[code])
        self.folder, self.session = folder, Session()
        opening = {"threads": 1, "niceness": 0, "throttle": 1.0}
        self.do("open", reference=f"{path}:T", options=options, **opening)

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        return self.session.do({"id": 1, "do": what, **arguments}, lambda _: None)

    def make(self, **changes: Any) -> dict[str, Any]:
        wanted = {"bytes_max": 2000, "means_only": False, "labels": None, "seed": 5, **changes}
        return self.do("make_samples", out=str(self.folder / "samples"), **wanted)

    def check(self, message: bytes | None = None, kind: str = "robust", samples: int = 3) -> str:
        path = self.folder / "given"
        path.write_bytes((self.folder / "samples").read_bytes() if message is None else message)
        return str(self.do("check_samples", path=str(path), kind=kind, samples=samples)["fault"])

    def train(self, message: bytes) -> None:
        (self.folder / "given").write_bytes(message)
        self.do("initial", out=str(self.folder / "base"), seed=1, source=None)
        recipe = {"steps": 3, "lr": 0.01, "batch": 8, "momentum": 0.0, "seed": 3}
        samples = [[str(self.folder / "given"), 10.0]]
        base, out = str(self.folder / "base"), str(self.folder / "out")
        self.do("train", base=base, out=out, samples=samples, **recipe)


@pytest.mark.parametrize("code", ["classes", "numbers", "binary"])
def test_what_one_node_makes_another_one_trains_on(tmp_path: Path, code: str) -> None:
    one, other = Trainer(tmp_path / "one", code), Trainer(tmp_path / "other", code, seed=9)
    made = one.make()
    message = (one.folder / "samples").read_bytes()
    assert len(message) <= 2000
    assert made["samples"] <= made["stands_for"] == 180  # a tenth of 200 is held out
    assert other.check(message, made["kind"], made["samples"]) == ""
    other.train(message)


def test_nothing_that_is_held_out_is_shared(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "one", "classes")
    opened = trainer.session._session.opened  # type: ignore[union-attr]
    data = travelling(opened.task, opened.working_model(), opened.data.own, 1000)
    assert not isinstance(data, str)
    held_out = set(opened.data.held_out.x[:, 0].tolist())  # type: ignore[union-attr]
    assert len(held_out) == 20
    assert not held_out & set(data.x[:, 0].tolist())


def test_a_node_with_few_labels_and_one_with_all_read_each_other(tmp_path: Path) -> None:
    """How many classes there are is the model's affair, not that of a node's data."""
    few, whole = Trainer(tmp_path / "few", "few_labels"), Trainer(tmp_path / "whole", "classes")
    for giver, taker in ((few, whole), (whole, few)):
        made = giver.make()
        message = (giver.folder / "samples").read_bytes()
        assert taker.check(message, made["kind"], made["samples"]) == ""


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("private", "the task 'own' lets none of its data travel"),
        ("dict", "its training data gives no (x, y) arrays, and only those can be shared"),
        ("stream", "its training data gives no (x, y) arrays, and only those can be shared"),
        ("fit", "a task that trains by fit() shows no samples that could be shared"),
    ],
)
def test_data_that_cannot_travel_is_said_to(tmp_path: Path, code: str, why: str) -> None:
    trainer = Trainer(tmp_path / "one", code)
    assert trainer.make() == {"why": why}
    assert not (tmp_path / "one" / "samples").exists()


def test_halves_travel_as_numbers(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "one", "half")
    made = trainer.make()
    assert trainer.check(None, made["kind"], made["samples"]) == ""


def test_a_space_that_is_none_is_the_tasks_fault(tmp_path: Path) -> None:
    with pytest.raises(TaskFault, match="coreset_space\\(\\) must return a Space of the shape"):
        Trainer(tmp_path / "one", "wrong_space").make()


SPACE = Space("table", (6,), np.float32([-4.0]), np.float32([200.0]), 4)  # type: ignore[arg-type]


def crafted(space: Space = SPACE, level: int = 1, labels: tuple[int, ...] = (0, 1, 2)) -> bytes:
    levels = np.full((len(labels), *space.shape), level, np.uint8)
    weights = np.ones(len(labels), np.float32)
    return encode(Coreset(space, "samples", 1, levels, np.array(labels), weights))


def spaced(**changes: Any) -> Space:
    return Space(**{**vars(SPACE), **changes})


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (crafted(spaced(classes=40), labels=(0, 1, 39)), "in 40 classes"),
        (crafted(spaced(shape=(7,))), "tables of shape 7"),
        (crafted(spaced(high=np.float32([1e25]))), "far outside of"),
        (b"", "ends inside"),
        (b"\x00" * 40, "format"),
        (crafted()[:-3], "coreset"),
        (bytes([crafted()[0], crafted()[1]]) + b"\xff\xff\xff\x7f" + crafted()[3:], "coreset"),
    ],
    ids=["labels", "shape", "range", "empty", "zeros", "cut", "bomb"],
)
def test_what_the_task_cannot_have_is_refused_when_it_is_looked_at_and_when_trained_on(
    tmp_path: Path, message: bytes, said: str
) -> None:
    trainer = Trainer(tmp_path / "one", "classes")
    assert said in trainer.check(message, "samples", 3)
    with pytest.raises((MusterError, TaskFault), match="samples of another node do not fit the task here"):
        trainer.train(message)
    assert trainer.check(crafted(), "samples", 3) == ""  # such a one is fine
    assert "its record says 9 samples" in trainer.check(crafted(), "samples", 9)
    trainer.train(crafted())


def test_the_same_coreset_comes_of_the_same_data_and_seed(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path / "one", "classes")
    trainer.make()
    first = (tmp_path / "one" / "samples").read_bytes()
    trainer.make()
    assert (tmp_path / "one" / "samples").read_bytes() == first
    opened = trainer.session._session.opened  # type: ignore[union-attr]
    data = travelling(opened.task, opened.working_model(), opened.data.own, 1000)
    assert not isinstance(data, str)
    made = make(data, 2000, False, [2], 5)
    assert not isinstance(made, str)
    assert set(decode(made.message, data.space, samples_max=1000).labels.tolist()) == {2}
