"""The trainer child learns from samples that people labelled on its node."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from muster.compression import tensors
from muster.compression.tensors import Layout
from muster.job.context import Model
from muster.learning.faults import TaskFault
from muster.local.limits import Limits
from muster.local.local_set import LocalSet
from muster.node.trainer.adapter import StoreTrainer
from muster.node.trainer.messages import TaskSource
from muster.node.trainer.session import Session
from muster.protocol.parts import Recipe
from muster.storage.disk import DiskStore
from muster.storage.offload import inline

# Bytes of a camera become numbers around 0.  The own data have 0 left and 1 right; then all is turned.
TASK = """
import numpy as np
from torch import nn
from muster.learning.task import Task

class Sides(Task):
    name = "sides"
    raw = ("uint8", (2,))

    def model(self):
        return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    def prepare(self, x):
        return (x.float() - 100) / 50

    def training_data(self):
        y = np.arange(80) % 2
        x = np.random.default_rng(1).normal(size=(80, 2)) * 0.2
        x[:, 0] += 2 * y - 1
        return x.astype(np.float32), y

    def evaluation_data(self):
        x, y = self.training_data()
        return x[:40], y[:40]
"""
RECIPE: dict[str, Any] = {"steps": 300, "lr": 0.1, "batch": 8, "momentum": 0.5, "seed": 1}


class Node:
    def __init__(self, folder: Path) -> None:
        self.folder, self.set = folder, folder / "local" / "sides.sqlite"
        (folder / "sides.py").write_text(TASK)
        self.session, self.numbers = Session(), itertools.count()
        opening = {"do": "open", "reference": str(folder / "sides.py"), "options": {}}
        self.facts = self.do(**opening, threads=1, niceness=0, throttle=1.0)
        self.layout = Layout.from_plain(self.facts["layout"])
        self.do("initial", out=str(folder / "base"), seed=1, source=None)

    def do(self, do: str, **arguments: Any) -> dict[str, Any]:
        return self.session.do({"id": 1, "do": do, **arguments}, lambda progress: None)

    def labels(self, job: str = "aa", replay: int | None = None) -> dict[str, Any]:
        return {"labels_here": {"set": str(self.set), "job": job, "replay": replay}}

    def label(self, count: int, turned: bool = True) -> None:
        """Upper ones are 1, lower ones 0, where the own data have them left and right."""
        noise = np.random.default_rng(count)
        with LocalSet.open(self.set, Limits(free_bytes=0)) as local:
            for i in range(count):
                at = noise.normal(size=2) * 0.2
                at[int(turned)] += 2 * (i % 2) - 1
                at[1 - int(turned)] += 4 * turned
                local.add_labelled((at * 50 + 100).clip(0, 255).astype(np.uint8), i % 2)

    def train(self, **labels: Any) -> Path:
        out = self.folder / "out"
        self.do("train", base=str(self.folder / "base"), out=str(out), **RECIPE, **labels)
        before = tensors.read(self.layout, self.folder / "base")
        change = tensors.read(self.layout.changes, out)
        model = self.folder / f"model{next(self.numbers)}"
        tensors.write(self.layout, model, {n: before[n] + change[n] for n in before})
        return model

    def right(self, model: Path, **labels: Any) -> float:
        found = self.do("evaluate", base=str(model), which="own" if labels else "common", **labels)
        right, count = found["figures"]["accuracy"]
        return float(right / count)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_job_without_labels_is_as_ever(node: Node) -> None:
    alone = node.train().read_bytes()
    assert node.train(**node.labels()).read_bytes() == alone
    assert not node.set.exists()
    LocalSet.open(node.set).close()
    assert node.train(**node.labels("bb")).read_bytes() == alone


def test_an_ordinary_job_learns_from_labels_and_its_own_data(node: Node) -> None:
    node.label(200)  # a fifth, drawn at random, is held out
    job = node.labels("aa", 8)  # measured as a job that adapts would be
    before, after = node.right(node.train(), **job), node.right(node.train(**node.labels()), **job)
    assert before < after
    assert after > 0.9


def test_a_job_that_adapts_learns_the_new_and_keeps_the_old(node: Node) -> None:
    with LocalSet.open(node.set, Limits(free_bytes=0)) as local:
        local.alarm(8.0, "turned")
    node.label(200)
    before = node.train()
    model = node.train(**node.labels("aa", 8))
    assert node.right(model) > 0.95  # on the old data
    assert node.right(before, **node.labels("aa", 8)) < node.right(model, **node.labels("aa", 8))
    assert node.right(model, **node.labels("aa", 8)) > 0.95
    forgets = node.train(**node.labels("aa", 0))
    assert node.right(forgets) < node.right(model)


def test_a_job_keeps_what_it_began_with(node: Node) -> None:
    node.label(20)
    first = node.train(**node.labels("aa", 8)).read_bytes()
    node.label(30, turned=False)
    assert node.train(**node.labels("aa", 8)).read_bytes() == first
    assert Node(node.folder).train(**node.labels("aa", 8)).read_bytes() == first  # after a restart
    assert node.train(**node.labels("bb", 8)).read_bytes() != first


def test_without_a_label_of_what_changed_there_is_nothing_to_adapt_to(node: Node) -> None:
    for _ in range(2):
        with pytest.raises(TaskFault, match="nobody has labelled a sample of what changed on this node"):
            node.train(**node.labels("aa", 8))
        node.label(5)
        with LocalSet.open(node.set, Limits(free_bytes=0)) as local:
            local.alarm(8.0, "turned")


def test_shared_samples_are_never_those_that_people_labelled(node: Node) -> None:
    def shared() -> bytes:
        out = node.folder / "samples"
        node.do("make_samples", out=str(out), bytes_max=4000, means_only=False, labels=None, seed=1)
        return out.read_bytes()

    before = shared()
    node.label(30)
    node.train(**node.labels())
    assert shared() == before


@pytest.mark.e2e
def test_a_job_of_the_node_has_its_labels(node: Node) -> None:
    """Through the child's process, with what the daemon knows: the node's home and the job."""
    node.label(40)
    job, recipe = bytes(range(32)), Recipe(lr=0.1, batch=8, steps=0, seed=1)
    store = DiskStore(node.folder)
    (node.folder / "scratch").mkdir()

    async def run() -> tuple[float, ...]:
        source = TaskSource(str(node.folder / "sides.py"), niceness=0)
        trainer = await StoreTrainer.open(source, store, node.folder / "scratch", inline, lambda _: None)
        try:
            assert (await trainer.describe()).has_common
            trainer.work_for(job, replay=8)
            facts = await trainer.describe()
            assert (facts.samples, facts.has_common) == (32, False)  # a fifth is held out
            assert not (await trainer.take_width(1.0)).has_common
            base = Model(await trainer.initial(1, None))
            fine = Model(await trainer.fine_tuned(base, recipe, 200))
            found = [await trainer.evaluate(model, "own") for model in (base, fine)]
            return tuple(m.figures["accuracy"][0] / m.examples for m in found)
        finally:
            await trainer.close()
            store.close()

    before, after = asyncio.run(run())
    assert before < 0.9 < after


def test_fine_tuning_gives_a_whole_model_and_leaves_what_the_job_keeps(node: Node) -> None:
    node.label(40)
    local, out = node.folder / "job.pt", node.folder / "fine"
    base = node.train(**node.labels("aa", 8), local=str(local))
    before = base.read_bytes()
    said = node.do(
        "fine_tune", base=str(base), out=str(out), **RECIPE, **node.labels("aa", 8), local=str(local)
    )
    assert said["steps"] == RECIPE["steps"]
    assert not local.exists()
    assert out.read_bytes() != before
    assert node.right(out, **node.labels("aa", 8)) > 0.9
