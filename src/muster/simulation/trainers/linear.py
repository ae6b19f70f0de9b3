"""An exact linear stand-in for the trainer child: gradient descent on |w - t|^2 / 2, t being the node's own.

After `steps` steps at rate lr: w' = t + (w - t) (1 - lr)^steps, in virtual time `steps * step_s`.  The model
is one small float32 tensor, so that whole jobs cost milliseconds.  The loss is quadratic, so that the values
of a round's updates add up to its drop to the last digit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.structure import Group, Slot, Structure
from muster.compression.tensors import Layout, TensorSpec, pack
from muster.errors import MusterError
from muster.job.context import EvaluationResult
from muster.job.figures import of_classes
from muster.simulation.trainers.base import SimFacts, SimTrainer, Vector, Weighed, Wide
from muster.storage.store import Store

TASK = "linear"
COMMON_EXAMPLES = 1000
OWN_EXAMPLES = 100


def facts_of(layout: Layout, samples: int, has_common: bool) -> SimFacts:
    return SimFacts(TASK, layout, samples, has_common)


def layout_of(size: int, per_channel: int = 1) -> Layout:
    """The layout of a stand-in model of `size` weights, so many to a channel."""
    shape = (size,) if per_channel == 1 else (size // per_channel, per_channel)
    return Layout((TensorSpec("w", shape, "float32"),))


def target_of(seed: int, size: int) -> Vector:
    """A node's own optimum."""
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def initial_blob(layout: Layout) -> bytes:
    """The parameters that every job begins with: zeros."""
    return pack(layout, {"w": np.zeros(layout.tensors[0].shape, np.float32)})


def trained(before: Vector, target: Vector, lr: float, steps: int) -> Vector:
    """The weights after `steps` steps, in fp64, rounded once."""
    kept = (1.0 - lr) ** steps
    wide = target + (before.astype(np.float64) - target) * kept
    return np.asarray(wide.astype(np.float32))


class LinearTrainer(SimTrainer):
    """Pulls towards `target`; the common set's optimum is zero."""

    def __init__(
        self,
        facts: SimFacts,
        store: Store,
        target: Vector,
        step_s: float,
        rng: random.Random,
        on_trained: Callable[[SimTrainer], None] = lambda trainer: None,
    ) -> None:
        super().__init__(facts, store, step_s, rng, on_trained)
        self._target = target

    def groups(self, layout: Layout) -> Structure:
        [spec] = layout.tensors
        return Structure((Group(spec.shape[0], (Slot(spec.name, 0),)),))

    def learn(self, before: Vector, steps: int, lr: float, batch: int, seed: int) -> tuple[Vector, float]:
        after = trained(before, self._target[: before.size], lr, steps)
        return after, self._loss(after.astype(np.float64), "own")

    def learn_from(
        self, shared: Sequence[Weighed], before: Vector, steps: int, lr: float, batch: int, seed: int
    ) -> tuple[Vector, float]:
        """Towards the weighted mean of the optima."""
        if any(len(data) != self._target.nbytes for data, _ in shared):
            raise MusterError("bad_data", "the shared samples are of another task")
        optima = np.stack([np.frombuffer(data, np.float32) for data, _ in shared]).astype(np.float64)
        mean = np.average(optima, axis=0, weights=[weight for _, weight in shared])
        after = trained(before, mean.astype(np.float32), lr, steps)
        return after, float(np.square(after - mean).mean())

    def samples(
        self, bytes_max: int, classes: Sequence[int] | None, seed: int
    ) -> tuple[bytes, int, int] | None:
        """Its optimum, which says all of its data."""
        message, count = self._target.astype("<f4").tobytes(), self.facts.samples
        return (message, count, count) if len(message) <= bytes_max else None

    def check_shared(self, shared: bytes, samples: int) -> None:
        if len(shared) != self._target.nbytes or not np.isfinite(np.frombuffer(shared, "<f4")).all():
            raise MusterError("bad_data", "the shared samples are of another task")

    def measure(self, weights: Vector, which: str, limit: int | None) -> EvaluationResult:
        loss, examples = self._loss(weights.astype(np.float64), which), _examples(which, limit)
        correct = round(examples / (1.0 + loss))
        return EvaluationResult(examples, of_classes(examples, correct, loss * examples))

    def mean_loss(self, weights: Wide, which: str, limit: int) -> tuple[float, int]:
        return self._loss(weights, which), _examples(which, limit)

    def slope(self, weights: Wide, which: str, limit: int) -> NDArray[np.floating]:
        return 2.0 * (weights - self._optimum(which, weights.size)) / weights.size

    def _loss(self, weights: Wide, which: str) -> float:
        return float(np.square(weights - self._optimum(which, weights.size)).mean())

    def _optimum(self, which: str, size: int) -> Vector:
        """That of the whole model, or of the first `size` weights of it."""
        return np.zeros_like(self._target[:size]) if which == "common" else self._target[:size]


def _examples(which: str, limit: int | None) -> int:
    held_out = COMMON_EXAMPLES if which == "common" else OWN_EXAMPLES
    return held_out if limit is None else min(held_out, limit)
