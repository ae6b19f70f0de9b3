"""Images in coresets: what a network learns from the pool of all nodes' coresets, and who is told from them.

Used by kinds.py.  Each node has two classes and the same byte budget; the pool is trained on once, with
augmentation (rotation 10 degrees, scale 10 %, shift 2 of 28 pixels).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from muster.algorithms import splits
from muster.coresets.choose import choose, filled
from muster.coresets.coding.codec import encode
from muster.coresets.coreset import Coreset, Space
from muster.coresets.kinds.centres import centres
from muster.coresets.kinds.clusters import nearest
from muster.coresets.kinds.make import coded
from muster.coresets.spaces import default_space, unit
from muster.learning import digits, mnist

STEPS, BATCH, LR = 1000, 32, 0.1
NODES = {"mnist": 10, "digits": 8}
KEPT = 20_000  # of MNIST's training images, so that clustering takes a third of the time

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def images(name: str, data: Path | None) -> tuple[Images, Labels, Images, Labels]:
    """Training and test images, and their labels."""
    if name == "digits":
        x, y = digits.load()
        kept, held = splits.holdout(y, digits.EVALUATION_SHARE, digits.EVALUATION_SEED)
        return x[kept], y[kept], x[held], y[held]
    task = mnist.Mnist(model="cnn6k")
    task.data = data
    x, y = task.training_data()
    held_x, held_y = task.evaluation_data()
    return x[:KEPT], y[:KEPT], held_x, held_y


def network(name: str, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return digits.Digits().model() if name == "digits" else mnist.Mnist(model="cnn6k").model()


def one_shot(name: str, kind: str, bits: int, budget: int, seed: int, data: Path | None) -> dict[str, Any]:
    """Accuracy of a network trained on what all nodes sent; `bits` 0: as the sender chooses, also the kind
    but for means."""
    x, y, held_x, held_y = images(name, data)
    sent: list[Coreset] = []
    for node, part in enumerate(splits.split(y, "classes:2", NODES[name], seed)):
        mine, labels = x[part], y[part]
        space, rng = default_space(mine, labels, 10), np.random.default_rng([seed, node])
        if bits:
            sent.append(filled(mine, labels, kind, bits, 50, budget, space, int(rng.integers(2**63))))
        else:
            sent.append(choose(mine, labels, budget, space, kind == "means", rng))
    model = network(name, seed)
    train(model, sent, seed)
    with torch.no_grad():
        right = (model(torch.from_numpy(held_x)).argmax(1).numpy() == held_y).mean()
    return {
        "accuracy": float(right),
        "bits": [coreset.bits for coreset in sent],
        "kinds": sorted({coreset.kind for coreset in sent}),
        "samples": float(np.mean([len(coreset) for coreset in sent])),
        "bytes": float(np.mean([len(encode(coreset)) for coreset in sent])),
    }


def train(model: torch.nn.Module, sent: list[Coreset], seed: int) -> None:
    x = torch.from_numpy(np.concatenate([coreset.inputs() for coreset in sent]))
    y = torch.from_numpy(np.concatenate([coreset.labels for coreset in sent]))
    weights = torch.from_numpy(np.concatenate([coreset.weights for coreset in sent]))
    weights = weights / weights.mean()
    draws = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), LR)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        rows = torch.randint(len(x), (BATCH,), generator=draws)
        losses = functional.cross_entropy(model(augmented(x[rows], draws)), y[rows], reduction="none")
        optimiser.zero_grad()
        (losses * weights[rows]).mean().backward()
        optimiser.step()


def augmented(x: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
    angle, scale, right, down = (torch.rand(4, len(x), generator=draws) * 2 - 1) * torch.tensor(
        [[math.radians(10)], [0.1], [2 * 2 / 28], [2 * 2 / 28]]
    )
    cosine, sine = torch.cos(angle) * (1 + scale), torch.sin(angle) * (1 + scale)
    turned = torch.stack([torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)
    grid = functional.affine_grid(turned, list(x.shape), align_corners=False)
    low = x.min()
    return functional.grid_sample(x - low, grid, align_corners=False) + low


def membership(per_centre: int, least: int, seed: int, data: Path | None) -> dict[str, float]:
    """Can somebody who holds an image tell whether it is among those of a node's means?

    He takes the distance to the nearest mean of its class.  The figure is the area under the ROC curve over
    members and as many other images of the class: 0.5 is a guess.
    """
    x, y, *_ = images("mnist" if data else "digits", data)
    rng = np.random.default_rng(seed)
    found, sizes = [], []
    for label in range(10):
        members, others = np.array_split(rng.permutation(np.flatnonzero(y == label)), 2)
        mine, labels = x[members], y[members]
        space = default_space(mine, labels)
        made = centres(mine, labels, len(members) // per_centre, space, rng, least)
        sent = coded(made, space, "means", 3)
        found.append(_auc(_away(mine, sent, space), _away(x[others], sent, space)))
        sizes += made.weights.tolist()
    return {"auc": float(np.mean(found)), "samples a centre": float(np.median(sizes))}


def _away(x: Images, sent: Coreset, space: Space) -> NDArray[np.float32]:
    return nearest(unit(x, space), unit(sent.inputs(), space))[1]


def _auc(members: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """The chance that a member lies nearer than another."""
    ranks = np.argsort(np.argsort(np.concatenate([members, others])))
    below = ranks[: len(members)].sum() - len(members) * (len(members) - 1) / 2
    return 1 - float(below) / (len(members) * len(others))
