"""The tasks of the zoo, as files; and one trained in one place, to compare a job with."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet import ChildHere

from muster.compression import tensors
from muster.compression.change import Sum
from muster.compression.tensors import Layout
from muster.job.figures import Figures, score
from muster.protocol.parts import Metric

ZOO = Path(__file__).parents[1]
JOB: dict[str, Any] = {
    "rounds": 6,
    "steps": 8,
    "lr": 0.1,
    "batch": 32,
    "momentum": 0.0,
    "server_momentum": 0.0,
    "seed": 0,
}


@dataclass(frozen=True)
class Animal:
    """A file of the zoo: its task's name, and the job that trains it (`JOB`, or the file's own)."""

    path: Path
    task: str
    job: dict[str, Any]


def animal(stem: str) -> Animal:
    """What a file says, without importing it: the trainer alone does that."""
    path = ZOO / f"{stem}.py"
    said: dict[str, Any] = {}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("name", "JOB"):
                said[name] = ast.literal_eval(node.value)
    return Animal(path, said["name"], {**JOB, **said.get("JOB", {})})


def stems() -> list[str]:
    """Of all files that are tasks."""
    return sorted(path.stem for path in ZOO.glob("*.py") if path.stem != "clouds")


class OnePlace:
    """A task on one node alone, which does in one go as many steps as a node does in the job."""

    def __init__(self, animal: Animal, folder: Path, options: Mapping[str, Any] = {}) -> None:
        self._animal, self._folder, self._child = animal, folder, ChildHere()
        facts = self._do(
            "open", reference=str(animal.path), options=dict(options), threads=1, niceness=0, throttle=1.0
        )
        self.layout = Layout.from_plain(facts["layout"])
        self.headline = Metric(*facts["metrics"][0])
        self._which = "common" if facts["common"] else "own"

    def _do(self, do: str, **request: Any) -> dict[str, Any]:
        return self._child.do({"id": 1, "do": do, **request}, lambda _: None)

    def trained(self) -> bytes:
        """The parameters at the end, as a blob."""
        start, update = self._folder / "start", self._folder / "update"
        job = self._animal.job
        self._do("initial", seed=job["seed"], source=None, out=str(start))
        recipe = {name: job[name] for name in ("lr", "batch", "momentum", "seed")}
        steps = job["rounds"] * job["steps"]
        self._do("train", base=str(start), out=str(update), steps=steps, **recipe)
        change = tensors.read(self.layout.changes, update)
        return tensors.pack(self.layout, dict(Sum(self.layout, tensors.read(self.layout, start), change)))

    def score(self, blob: bytes) -> float:
        """A headline, more is better, on the data that every node has, else on those held out here."""
        path = self._folder / "model"
        path.write_bytes(blob)
        found = self._do("evaluate", base=str(path), which=self._which, limit=None)
        return score(self.headline, Figures(found["examples"], found["figures"]).value(self.headline))
