"""Coresets to train on: weighted samples of several nodes, in batches that look like own data.

Batches are drawn by weight, so that any loss is the weighted one in expectation, whatever a task's steps
make of a batch.  The draws are systematic (Kitagawa 1996, section 2.3): where all weigh the same, each sample
comes once in as many draws as there are samples, as in a usual epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from muster.coresets.coreset import Coreset
from muster.learning.faults import TaskFault
from muster.learning.sources.appended import joined
from muster.learning.sources.source import Source
from muster.learning.sources.trees import Batch, Tree

Augment = Callable[[Tree], Tree]


@dataclass(frozen=True)
class Pool:
    """Samples of coresets, and beside them this node's own data, `own_share` of each batch.

    `augment` is applied to whole batches.
    """

    x: torch.Tensor
    y: torch.Tensor
    weights: NDArray[np.float64]
    as_tree: Callable[[torch.Tensor, torch.Tensor], Tree]  # in the structure of the node's own batches
    augment: Augment
    own: Source | None = None
    own_share: float = 0.0

    @property
    def size(self) -> int | None:
        return len(self.weights) if self.own is None else None

    @property
    def checked(self) -> bool:
        return self.own is None or self.own.checked

    def batches(self, batch: int, seed: int) -> Iterator[Batch]:
        beside = 0
        if self.own is not None:
            beside = min(max(1, round(self.own_share * batch)), batch - 1) if batch > 1 else 0
        own = self.own.batches(beside, seed) if self.own is not None and beside else None
        for places in drawn(self.weights, batch - beside, seed):
            index = torch.from_numpy(places)
            tree, count = self.as_tree(self.x[index], self.y[index]), len(places)
            if own is not None:
                more = next(own)
                tree, count = joined(tree, more.data), count + more.count
            yield Batch(self.augment(tree), count)


def pool(
    coresets: Sequence[tuple[Coreset, float]], own: Source, augment: Augment, own_weight: float = 0.0
) -> Pool:
    """The samples of `coresets`, each with the weight of the whole one, as this node's own data look.

    `own_weight`: of its own data among them; 0 leaves these out.  Raises TaskFault where its data are no
    (x, y), or of another shape.
    """
    if not coresets or sum(map(len, (c for c, _ in coresets))) == 0:
        raise TaskFault("the coresets to train on hold no samples")
    x_own, y_own, as_tree = form_of(own.example().data)
    for coreset, _ in coresets:
        if coreset.space.shape != tuple(x_own.shape[1:]):
            raise TaskFault(
                f"a coreset has samples of shape {coreset.space.shape}, the task here of"
                f" {tuple(x_own.shape[1:])}: install the same version of the task on every node"
            )
    x = _of_type(np.concatenate([c.inputs() for c, _ in coresets]), x_own)
    y = _of_type(np.concatenate([c.labels for c, _ in coresets]), y_own)
    weights = np.concatenate([_scaled(c.weights, whole) for c, whole in coresets])
    total = float(weights.sum()) + own_weight
    beside = own if own_weight > 0 else None
    y = y.reshape(len(y), *y_own.shape[1:])
    return Pool(x, y, weights, as_tree, augment, beside, own_weight / total if total > 0 else 0.0)


def drawn(weights: NDArray[np.float64], batch: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Endless batches of places, each as often as its weight says; one at least is above 0."""
    rng, count = np.random.default_rng(seed), len(weights)
    left = np.empty(0, np.int64)
    while True:
        while len(left) < batch:
            order = rng.permutation(count)
            edges = np.cumsum(weights[order])
            marks = (np.arange(count) + rng.random()) * (edges[-1] / count)
            chosen = order[np.minimum(np.searchsorted(edges, marks, side="right"), count - 1)]
            left = np.concatenate([left, rng.permutation(chosen)])
        yield left[:batch]
        left = left[batch:]


def _scaled(weights: NDArray[np.float32], whole: float) -> NDArray[np.float64]:
    wide = weights.astype(np.float64)
    scaled: NDArray[np.float64] = wide * (whole / wide.sum())
    return scaled


def form_of(tree: Tree) -> tuple[torch.Tensor, torch.Tensor, Callable[[torch.Tensor, torch.Tensor], Tree]]:
    """Inputs and targets of a batch, and what makes such a batch of others. Raises TaskFault."""
    if isinstance(tree, Mapping) and set(tree) == {"x", "y"}:
        x, y = tree["x"], tree["y"]
    elif isinstance(tree, tuple | list) and len(tree) == 2:
        x, y = tree
    else:
        x = y = None
    if not isinstance(x, torch.Tensor) or not isinstance(y, torch.Tensor):
        raise TaskFault("others' samples can be trained on only where training_data() gives (x, y) arrays")
    return x, y, (lambda a, b: {"x": a, "y": b}) if isinstance(tree, Mapping) else (lambda a, b: (a, b))


def _of_type(values: NDArray[Any], like: torch.Tensor) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if tensor.is_floating_point() and not like.is_floating_point():
        tensor = tensor.round()
    return tensor.to(like.dtype)
