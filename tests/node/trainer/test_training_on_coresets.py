"""A trainer trains on coresets that other nodes sent, in the place of its own data or beside it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.compression import tensors
from muster.compression.tensors import Layout
from muster.coresets.coding import encode
from muster.coresets.coreset import Coreset, Space
from muster.learning.faults import TaskFault
from muster.node.trainer.messages import TaskSource
from muster.node.trainer.process import TrainerProcess
from muster.node.trainer.session import Session

# This node has the points of one class of three: alone it learns to say nothing else.
TASK = """
import numpy as np
from torch import nn
from muster.learning.task import Task

CENTRES = np.float32([[2, 0], [-2, 0], [0, 2]])

class Clouds(Task):
    name = "clouds"
    options = {"own": 0}

    def model(self):
        return nn.Linear(2, 3)

    def training_data(self):
        rng, own = np.random.default_rng(1), self.options["own"]
        y = np.full(60, own)
        return (CENTRES[y] + 0.3 * rng.normal(size=(60, 2))).astype(np.float32), y

    def evaluation_data(self):
        y = np.arange(90) % 3
        rng = np.random.default_rng(2)
        return (CENTRES[y] + 0.3 * rng.normal(size=(90, 2))).astype(np.float32), y

    def configure_optimizers(self, parameters, lr):
        import torch
        return torch.optim.SGD(parameters, lr=lr, momentum=0.5)
"""
RECIPE: dict[str, Any] = {"steps": 150, "lr": 0.2, "batch": 16, "momentum": 0.0, "seed": 1}
CENTRES = np.float32([[2, 0], [-2, 0], [0, 2]])


def task_file(folder: Path, code: str = TASK) -> Path:
    path = folder / "clouds.py"
    path.write_text(code)
    return path


def coreset_file(folder: Path, label: int, count: int = 8, classes: int = 3, columns: int = 2) -> Path:
    """Samples of one class, as another node would send them."""
    x = np.zeros((count, columns), np.float32)
    x[:, :2] = CENTRES[label] + 0.3 * np.random.default_rng(label).normal(size=(count, 2))
    space = Space("table", (columns,), np.full(1, -4, np.float32), np.full(1, 4, np.float32), classes)
    levels = np.rint((x + 4) / 8 * 15).astype(np.uint8)
    made = Coreset(space, "samples", 4, levels, np.full(count, label), np.full(count, 5, np.float32))
    path = folder / f"coreset{label}"
    path.write_bytes(encode(made))
    return path


class Trainer:
    def __init__(self, folder: Path, code: str = TASK) -> None:
        self.folder, self.session = folder, Session()
        opening = {"threads": 1, "niceness": 0, "throttle": 1.0, "options": {}}
        facts = self.do("open", reference=str(task_file(folder, code)), **opening)
        self.layout = Layout.from_plain(facts["layout"])
        self.do("initial", out=str(folder / "base"), seed=1, source=None)

    def do(self, what: str, **arguments: Any) -> dict[str, Any]:
        return self.session.do({"id": 1, "do": what, **arguments}, lambda _: None)

    def train(self, **changes: Any) -> float:
        """The accuracy over all three classes, after training from the same base."""
        base, out = self.folder / "base", self.folder / "out"
        self.do("train", base=str(base), out=str(out), **(RECIPE | changes))
        before, update = tensors.read(self.layout, base), tensors.read(self.layout.changes, out)
        after = {name: before[name] + update[name] for name in before}
        tensors.write(self.layout, self.folder / "after", after)
        right, count = self.do("evaluate", base=str(self.folder / "after"), which="common")["figures"][
            "accuracy"
        ]
        return right / count


def test_coresets_teach_what_the_own_data_lack(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    samples = [[str(coreset_file(tmp_path, label)), 60.0] for label in (1, 2)]
    assert trainer.train() < 0.7
    assert trainer.train(samples=samples) < 0.75  # in the place of its own
    assert trainer.train(samples=samples, own_weight=60.0, cosine=True) > 0.95
    alone = [[str(coreset_file(tmp_path, label)), 60.0] for label in (0, 1, 2)]
    assert trainer.train(samples=alone) > 0.95


def test_work_for_others_leaves_no_state_here(tmp_path: Path) -> None:
    trainer, local = Trainer(tmp_path), tmp_path / "job.pt"
    trainer.train(local=str(local))
    kept = local.read_bytes()
    trainer.train(local=str(local), samples=[[str(coreset_file(tmp_path, 1)), 60.0]])
    assert local.read_bytes() == kept


def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path)
    for made in (
        coreset_file(tmp_path, 1, classes=4),
        coreset_file(tmp_path, 2, columns=3),
    ):
        with pytest.raises(TaskFault, match="samples of another node do not fit the task here"):
            trainer.train(samples=[[str(made), 60.0]])
    noise = tmp_path / "noise"
    noise.write_bytes(b"\x00" * 40)
    with pytest.raises(TaskFault, match="samples of another node do not fit the task here"):
        trainer.train(samples=[[str(noise), 60.0]])


ARRAYS = """
import numpy as np
from muster.learning.task import Task

class Lines(Task):
    name = "lines"

    def initial(self, seed):
        return {"w": np.zeros(2, np.float32)}

    def fit(self, arrays, steps, seed):
        return arrays, 10, {}
"""


def test_a_task_with_its_own_fit_takes_no_samples(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, ARRAYS)
    with pytest.raises(TaskFault, match="its own fit"):
        trainer.train(samples=[[str(coreset_file(tmp_path, 1)), 60.0]])


def test_through_the_child_process(tmp_path: Path) -> None:
    async def main() -> None:
        trainer, base, out = TrainerProcess(), tmp_path / "base", tmp_path / "out"
        try:
            facts = await trainer.open(TaskSource(str(task_file(tmp_path)), {}, niceness=0))
            await trainer.initial(base, seed=1)
            samples = [(coreset_file(tmp_path, 1), 60.0), (coreset_file(tmp_path, 2), 60.0)]
            done = await trainer.train(base, out, **RECIPE, samples=samples, own_weight=60.0, cosine=True)
        finally:
            await trainer.close()
        assert done.steps == 150
        before, update = tensors.read(facts.layout, base), tensors.read(facts.layout.changes, out)
        weight, bias = (before[name] + update[name] for name in ("weight", "bias"))
        assert (CENTRES @ weight.T + bias).argmax(1).tolist() == [0, 1, 2]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("code", "options"),
    [
        (TASK, {"own_data": False}),
        (TASK.replace("full(60, own)", "full(0, own)").replace("size=(60, 2)", "size=(0, 2)"), {}),
        (TASK.replace("def training_data", "def other_data"), {}),
    ],
)
def test_a_node_without_data_helps_on_samples_of_others_alone(
    code: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = task_file(tmp_path, code)
    session = Session()

    def do(what: str, **more: Any) -> dict[str, Any]:
        return session.do({"id": 1, "do": what, **more}, lambda step: None)

    facts = do("open", reference=str(path), options=options, threads=1, niceness=0, throttle=1.0)
    assert (facts["samples"], facts["classes"], facts["common"]) == (0, [], 90)
    assert do("measure_speed", batch=16)["step_s"] > 0
    base, out = tmp_path / "base", tmp_path / "out"
    do("initial", seed=1, source=None, out=str(base))
    files = [(str(coreset_file(tmp_path, label)), 30.0) for label in range(3)]
    assert do("check_samples", path=files[0][0], kind="samples", samples=8) == {"fault": ""}
    do("train", base=str(base), out=str(out), samples=files, **RECIPE)
    layout = Layout.from_plain(facts["layout"])
    before, update = tensors.read(layout, base), tensors.read(layout.changes, out)
    after = tmp_path / "after"
    tensors.write(layout, after, {name: before[name] + update[name] for name in before})
    figures = do("evaluate", base=str(after), which="common")["figures"]
    assert figures["accuracy"][0] / figures["accuracy"][1] > 0.9
    with pytest.raises(TaskFault, match="trains on samples that others share"):
        do("train", base=str(base), out=str(out), **RECIPE)
    shared = do(
        "make_samples", out=str(tmp_path / "mine"), bytes_max=1000, means_only=False, labels=None, seed=1
    )
    assert shared == {"why": "this node has no data of its own"}
    assert do("find_rate", base=str(base), batch=8, momentum=0.0, seed=1, seconds=1.0)["lr"] is None


def test_a_node_that_has_nothing_to_show_cannot_help(tmp_path: Path) -> None:
    path = task_file(tmp_path, TASK.replace("def evaluation_data", "def other_data"))
    with pytest.raises(TaskFault, match="there is no training data on this node"):
        Session().do(
            {"id": 1, "do": "open", "reference": str(path), "options": {"own_data": False}, "threads": 1,
             "niceness": 0, "throttle": 1.0}, lambda step: None,
        )  # fmt: skip
