"""Answers of real candidates to be judged by: which images each has right, kept in a folder.

The base and six candidates that came from it, each asked about 2,500 images that none was trained on, on
the condition where it would be used.  What a candidate is trained on is below; half of a batch is old
samples where it says so.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import conditions
import numpy as np
import torch
from conditions import Change, Images
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from muster.learning.mnist import Mnist

ASKED = 2500
LR, BATCH = 0.05, 16

Right = NDArray[np.bool_]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Kind:
    """`change`: of the samples it is trained on; `used`: of those it is asked about; `wrong`: share of its
    labels."""

    change: Change
    used: Change
    labels: int
    steps: int
    wrong: float = 0.0
    replay: bool = True


KINDS = {
    "good, on a changed node": Kind(conditions.rotated(60), conditions.rotated(60), 200, 150),
    "over-fitted, on a changed node": Kind(conditions.rotated(60), conditions.rotated(60), 20, 60),
    "better by a few points": Kind(conditions.rotated(30), conditions.rotated(30), 16, 12),
    "trained on more clean samples": Kind(conditions.as_they_are, conditions.as_they_are, 1000, 300),
    "another node's, on a clean node": Kind(
        conditions.rotated(60), conditions.as_they_are, 200, 150, replay=False
    ),
    "half of the labels wrong": Kind(
        conditions.as_they_are, conditions.as_they_are, 50, 150, 0.5, replay=False
    ),
}


def paired(name: str, data: Path, folder: Path) -> tuple[Right, Right]:
    """(which of the images the candidate has right, and which the base)."""
    path = folder / "candidates" / f"{name.replace(' ', '-')}.npz"
    if not path.exists():
        mine, base = asked(KINDS[name], data, folder)
        conditions.save(path, partial(np.savez, mine=mine, base=base))
    with np.load(path) as file:
        return file["mine"], file["base"]


def asked(kind: Kind, data: Path, folder: Path) -> tuple[Right, Right]:
    rng = np.random.default_rng(3)
    x, y = conditions.fresh(data)
    order = rng.permutation(len(y))
    test, new, old = order[:ASKED], order[ASKED : ASKED + kind.labels], order[-2000:]
    base = conditions.trained(folder, data)
    labels = y[new].copy()
    wrong = rng.random(len(labels)) < kind.wrong
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, wrong.sum())) % 10
    replay = (x[old], y[old]) if kind.replay else None
    mine = tuned(base, kind.change(x[new], rng), labels, kind.steps, replay, rng)
    seen = kind.used(x[test], rng)
    right = [conditions.outputs(model, seen).argmax(1).numpy() == y[test] for model in (mine, base)]
    return right[0], right[1]


def tuned(
    base: nn.Module,
    x: Images,
    y: Labels,
    steps: int,
    replay: tuple[Images, Labels] | None,
    rng: np.random.Generator,
) -> nn.Module:
    """A copy of `base`, trained on (x, y), half of each batch from `replay`."""
    model, prepare = copy.deepcopy(base).train(), Mnist().prepare
    optimiser = torch.optim.SGD(model.parameters(), LR, momentum=0.0)

    def draw(images: Images, labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
        rows = rng.integers(len(labels), size=BATCH)
        return prepare(torch.from_numpy(conditions.bytes_of(images[rows]))), torch.from_numpy(labels[rows])

    for _ in range(steps):
        parts = [draw(x, y)] + ([draw(*replay)] if replay is not None else [])
        inputs, targets = (torch.cat(both) for both in zip(*parts, strict=True))
        optimiser.zero_grad()
        loss: torch.Tensor = functional.cross_entropy(model(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.eval()
