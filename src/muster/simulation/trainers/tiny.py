"""A real trainer that is tiny: softmax regression by mini-batch gradient descent, in numpy.

Ten features, four classes, drawn around four centres that all nodes share; each node has mostly two of the
classes.  44 parameters in two tensors, so that a step costs some microseconds; what is learnt is real:
losses and updates come from data, and no closed form says what a commit must be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.compression.model import flatten
from muster.compression.tensors import Layout, TensorSpec, pack
from muster.errors import MusterError
from muster.job.context import EvaluationResult
from muster.job.figures import of_classes
from muster.simulation.trainers.base import SimFacts, SimTrainer, Vector, Weighed, Wide
from muster.storage.store import Store

TASK = "tiny"
FEATURES, CLASSES = 10, 4
EXAMPLE_BYTES = 4 * FEATURES + 8  # as it is shared
COMMON_EXAMPLES = 200
OWN_SHARE = 0.9  # of a node's samples that may be of its own two classes
LAYOUT = Layout(
    (TensorSpec("w", (FEATURES, CLASSES), "float32"), TensorSpec("b", (CLASSES,), "float32")),
)

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]  # features (n, FEATURES), classes (n,)
Weights = dict[str, NDArray[np.float32]]


def facts_of(layout: Layout, samples: int, has_common: bool) -> SimFacts:
    return SimFacts(TASK, layout, samples, has_common)


def examples(seed: int, number: int, samples: int) -> Examples:
    """Data of node `number` of a world; node -1 holds all classes alike (the common set)."""
    centres = np.random.default_rng(seed).normal(0.0, 1.5, (CLASSES, FEATURES))
    rng = np.random.default_rng((seed, number + 1))
    classes = rng.integers(0, CLASSES, samples)
    if number >= 0:
        own = np.array([number % CLASSES, (number + 1) % CLASSES])
        classes = np.where(rng.random(samples) < OWN_SHARE, own[classes % 2], classes)
    features = centres[classes] + rng.normal(0.0, 1.0, (samples, FEATURES))
    return features.astype(np.float32), classes


def write_examples(data: Examples) -> bytes:
    """As they are shared: the features, then the classes."""
    return data[0].astype("<f4").tobytes() + data[1].astype("<i8").tobytes()


def read_examples(data: bytes) -> Examples:
    """What `write_examples` was given. Raises MusterError for anything else."""
    count, over = divmod(len(data), EXAMPLE_BYTES)
    if over or not count:
        raise MusterError("bad_data", "the shared samples are of another task")
    features = np.frombuffer(data, "<f4", count * FEATURES).reshape(count, FEATURES)
    classes = np.frombuffer(data, "<i8", count, 4 * count * FEATURES)
    if not (np.isfinite(features).all() and classes.min() >= 0 and classes.max() < CLASSES):
        raise MusterError("bad_data", "the shared samples are out of range")
    return features.astype(np.float32), classes.astype(np.int64)


def initial_blob() -> bytes:
    """The parameters that every job begins with: zeros."""
    return pack(LAYOUT, {s.name: np.zeros(s.shape, np.float32) for s in LAYOUT.tensors})


def probabilities(weights: Weights, features: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = features @ weights["w"] + weights["b"]
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def descend(
    weights: Weights, data: Examples, steps: int, lr: float, batch: int, seed: int,
    shares: NDArray[np.float64] | None = None,
) -> float:  # fmt: skip
    """`steps` of plain gradient descent on the cross-entropy, in place; the mean loss over them.

    Samples are drawn alike, or each as often as `shares` says.
    """
    rng = np.random.default_rng(seed)
    total = 0.0
    part = None if shares is None else shares / shares.sum()
    for _ in range(steps):
        chosen = rng.choice(len(data[1]), batch, p=part)
        features, classes = data[0][chosen], data[1][chosen]
        p = probabilities(weights, features)
        rows = np.arange(batch)
        total -= float(np.log(np.maximum(p[rows, classes], 1e-12)).mean())
        p[rows, classes] -= 1.0
        weights["w"] -= lr / batch * (features.T @ p)
        weights["b"] -= lr / batch * p.sum(axis=0)
    return total / max(1, steps)


def _loss_sum(weights: Weights, data: Examples) -> float:
    hit = probabilities(weights, data[0])[np.arange(len(data[1])), data[1]]
    return -float(np.log(np.maximum(hit, 1e-12)).sum())


def _weights(flat: Vector | Wide) -> Weights:
    """Copies."""
    w, b = np.split(flat.astype(np.float32), [FEATURES * CLASSES])
    return {"w": w.reshape(FEATURES, CLASSES), "b": b}


class TinyTrainer(SimTrainer):
    """Learns from `own`, of which the last tenth is held out."""

    def __init__(
        self,
        facts: SimFacts,
        store: Store,
        own: Examples,
        common: Examples,
        step_s: float,
        rng: random.Random,
        on_trained: Callable[[SimTrainer], None] = lambda trainer: None,
    ) -> None:
        super().__init__(facts, store, step_s, rng, on_trained)
        until = max(1, len(own[1]) * 9 // 10)
        self._mine = own[0][:until], own[1][:until]
        self._held_out = {"own": (own[0][until:], own[1][until:]), "common": common}

    def groups(self, layout: Layout) -> Structure:
        """A feature is a channel."""
        return Structure((Group(layout.tensors[0].shape[0], (Slot("w", 0),)),))

    def learn(self, before: Vector, steps: int, lr: float, batch: int, seed: int) -> tuple[Vector, float]:
        weights = _weights(before)
        loss = descend(weights, self._mine, steps, lr, batch, seed)
        return flatten(LAYOUT, weights), loss

    def learn_from(
        self, shared: Sequence[Weighed], before: Vector, steps: int, lr: float, batch: int, seed: int
    ) -> tuple[Vector, float]:
        weights = _weights(before)
        data = [read_examples(part) for part, _ in shared]
        pooled = np.concatenate([x for x, _ in data]), np.concatenate([y for _, y in data])
        shares = [np.full(len(y), weight / len(y)) for (_, y), (_, weight) in zip(data, shared, strict=True)]
        loss = descend(weights, pooled, steps, lr, batch, seed, np.concatenate(shares))
        return flatten(LAYOUT, weights), loss

    def samples(
        self, bytes_max: int, classes: Sequence[int] | None, seed: int
    ) -> tuple[bytes, int, int] | None:
        features, labels = self._mine
        may = np.arange(len(labels)) if classes is None else np.flatnonzero(np.isin(labels, classes))
        count = min(len(may), bytes_max // EXAMPLE_BYTES)
        if not count:
            return None
        chosen = np.random.default_rng(seed).choice(may, count, replace=False)
        return write_examples((features[chosen], labels[chosen])), count, len(may)

    def check_shared(self, shared: bytes, samples: int) -> None:
        if len(read_examples(shared)[1]) != samples:
            raise MusterError("bad_data", f"its record says {samples} samples, and it holds others")

    def measure(self, weights: Vector, which: str, limit: int | None) -> EvaluationResult:
        features, classes = self._data(which, limit)
        correct = int((probabilities(_weights(weights), features).argmax(axis=1) == classes).sum())
        loss_sum = _loss_sum(_weights(weights), (features, classes))
        return EvaluationResult(len(classes), of_classes(len(classes), correct, loss_sum))

    def mean_loss(self, weights: Wide, which: str, limit: int) -> tuple[float, int]:
        data = self._data(which, limit)
        return _loss_sum(_weights(weights), data) / max(1, len(data[1])), len(data[1])

    def slope(self, weights: Wide, which: str, limit: int) -> NDArray[np.floating]:
        features, classes = self._data(which, limit)
        p = probabilities(_weights(weights), features)
        p[np.arange(len(classes)), classes] -= 1.0
        return np.concatenate([(features.T @ p).ravel(), p.sum(axis=0)]) / max(1, len(classes))

    def _data(self, which: str, limit: int | None) -> Examples:
        features, classes = self._held_out["common" if which == "common" else "own"]
        return features[:limit], classes[:limit]
