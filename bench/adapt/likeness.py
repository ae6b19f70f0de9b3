"""Distances of sketches: of nodes that meet the same change, and of nodes that do not.

    python bench/adapt/likeness.py --data mnist.npz [--work FOLDER] [--json FILE]

Each row is 5 pairs of nodes for each of eight conditions, with their own samples, none of which the base was
trained on.  Where nodes have some classes only, no class is on both.  The reference is
taken of the base's training data, the same on both nodes, or where it says so of each node's own classes.
About a minute on a quiet core.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import candidates
import conditions
import numpy as np
import torch
from conditions import Images
from numpy.typing import NDArray
from torch import nn

from muster.adaptation import likeness
from muster.learning.mnist import Mnist, load
from muster.learning.served.features import Features

PAIRS = 5
OWN = 3000  # training images of which references are taken
SAMPLES = 100
CONDITIONS = (
    "clean",
    "rotated by 30",
    "rotated by 60",
    "rotated by 90",
    "inverted",
    "blurred",
    "noisy",
    "darker",
)
HELP_EACH_OTHER = {"rotated by 30", "rotated by 60"}


@dataclass(frozen=True)
class Node:
    """How a node of a pair differs: its samples' number and classes, its reference's classes, its model."""

    samples: int = SAMPLES
    classes: int = 10
    reference_classes: int = 10
    adapted: bool = False


ALIKE = {
    "100 samples each": (Node(), Node()),
    "40 samples each": (Node(40), Node(40)),
    "20 samples each (no sketch is made of these)": (Node(20), Node(20)),
    "5 of 10 classes each": (Node(classes=5), Node(classes=5)),
    "4 of 10 classes each": (Node(classes=4), Node(classes=4)),
    "2 of 10 classes each": (Node(classes=2), Node(classes=2)),
    "4 of 10 classes each, and in their references": (Node(classes=4, reference_classes=4),) * 2,
    "2 of 10 classes each, and in their references": (Node(classes=2, reference_classes=2),) * 2,
    "one of them uses a model that was adapted": (Node(), Node(adapted=True)),
    "references of 4 classes each": (Node(reference_classes=4), Node(reference_classes=4)),
    "references of 2 classes each": (Node(reference_classes=2), Node(reference_classes=2)),
}


class Field:
    """Makes the sketches of nodes."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.x, self.y = conditions.fresh(data)
        raw, self.own_y = load(data, "train")
        own_x, self.own_y = raw[:OWN].astype(np.float32) / np.float32(255), self.own_y[:OWN]
        self.models: dict[bool, nn.Module] = {False: conditions.trained(folder, data)}
        self.models[True] = self._adapted(folder, data)
        example = self._inputs(self.x[:2])
        self.features = {adapted: Features(model, example) for adapted, model in self.models.items()}
        self.own = {adapted: self.of(own_x, adapted) for adapted in self.models}

    def _adapted(self, folder: Path, data: Path) -> nn.Module:
        rng, kind = np.random.default_rng(3), candidates.KINDS["good, on a changed node"]
        rows = rng.permutation(len(self.y))
        new, old = rows[: kind.labels], rows[-2000:]
        base = conditions.trained(folder, data)
        replay = self.x[old], self.y[old]
        return candidates.tuned(base, kind.change(self.x[new], rng), self.y[new], kind.steps, replay, rng)

    @staticmethod
    def _inputs(x: Images) -> torch.Tensor:
        return Mnist().prepare(torch.from_numpy(conditions.bytes_of(x)))

    @torch.no_grad()
    def of(self, x: Images, adapted: bool) -> NDArray[np.float32]:
        found: NDArray[np.float32] = self.features[adapted](self._inputs(x)).numpy()
        return found

    def sketch(self, node: Node, condition: str, classes: NDArray[Any], rng: np.random.Generator) -> bytes:
        """`classes`: all ten in an order; a node with fewer has the first ones."""
        mine = rng.permutation(np.flatnonzero(np.isin(self.y, classes[: node.classes])))
        images = self.x[mine[: max(node.samples, likeness.SAMPLES_MIN)]]
        change = conditions.CHANGES.get(condition, conditions.as_they_are)
        features = self.of(change(images, rng), node.adapted)[: node.samples]
        own = rng.permutation(np.flatnonzero(np.isin(self.own_y, classes[: node.reference_classes])))[:1000]
        reference = likeness.Reference.of(self.own[node.adapted][own])
        if node.samples < likeness.SAMPLES_MIN:  # to show why there is a least number: each one twice
            features = np.tile(features, (2, 1))
        return likeness.sketch(features, reference)

    def distances(self, nodes: tuple[Node, Node], where: tuple[str, str], seed: int) -> list[float]:
        rng, found = np.random.default_rng([seed, len(where[0])]), []
        for _ in range(PAIRS):
            classes = rng.permutation(10)
            a = self.sketch(nodes[0], where[0], classes, rng)
            b = self.sketch(nodes[1], where[1], classes[::-1], rng)
            found.append(likeness.distance(a, b))
        return found


def main() -> int:
    given = conditions.parser(__doc__).parse_args()
    torch.set_num_threads(1)
    field = Field(given.data, given.work)
    result: dict[str, Any] = {}
    for name, nodes in ALIKE.items():
        found = [d for at, c in enumerate(CONDITIONS) for d in field.distances(nodes, (c, c), at)]
        result[f"the same change, {name}"] = told(found)
    one = Node()
    pairs = [(a, b) for at, a in enumerate(CONDITIONS) for b in CONDITIONS[at + 1 :]]
    strange = [pair for pair in pairs if set(pair) != HELP_EACH_OTHER]
    by_pair = {pair: field.distances((one, one), pair, 7) for pair in strange}
    apart = [d for found in by_pair.values() for d in found]
    result["different changes"] = told(apart)
    near = field.distances((one, one), ("rotated by 30", "rotated by 60"), 7)
    result["rotated by 30 and by 60, which help each other"] = told(near)
    closest = min((float(np.median(found)), pair) for pair, found in by_pair.items())
    print("| nodes | median | largest | smallest | below 0.4 |", "|---|---|---|---|---|", sep="\n")
    for name, row in result.items():
        shown = " | ".join(f"{row[key]:.2f}" for key in ("median", "largest", "smallest"))
        print(f"| {name} | {shown} | {row['alike']:.0%} |")
    print(f"the nearest of the different ones: {closest[1][0]} and {closest[1][1]}, {closest[0]:.2f}")
    conditions.keep(result, given.json)
    return 0


def told(found: list[float]) -> dict[str, float]:
    return {
        "median": float(np.median(found)),
        "largest": max(found),
        "smallest": min(found),
        "alike": float(np.mean(np.array(found) < likeness.THRESHOLD)),
    }


if __name__ == "__main__":
    sys.exit(main())
