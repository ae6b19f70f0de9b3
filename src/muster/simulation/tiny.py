"""A real trainer that is tiny: softmax regression by mini-batch gradient descent, in numpy.

Ten features, four classes, drawn around four centres that all nodes share; each node has mostly two of the
classes.  44 parameters in two tensors, so that a step costs some microseconds; what is learnt is real:
losses and updates come from data, and no closed form says what a commit must be.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from muster.compression.model import decode_update, flatten
from muster.compression.tensors import Layout, TensorSpec, pack, unpack
from muster.job.context import Measured, Trained, Valued
from muster.job.payloads import payload_bytes
from muster.records import BlobId, Payload
from muster.simulation.pace import SLICES, Pace
from muster.storage.store import Store

TASK = "tiny"
FEATURES, CLASSES = 10, 4
COMMON_EXAMPLES = 200
OWN_SHARE = 0.9  # of a node's samples that may be of its own two classes
LAYOUT = Layout(
    (TensorSpec("w", (FEATURES, CLASSES), "float32"), TensorSpec("b", (CLASSES,), "float32")),
)

Examples = tuple[NDArray[np.float32], NDArray[np.int64]]  # features (n, FEATURES), classes (n,)
Weights = dict[str, NDArray[np.float32]]


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


def initial_blob() -> bytes:
    """The parameters that every job begins with: zeros."""
    return pack(LAYOUT, {s.name: np.zeros(s.shape, np.float32) for s in LAYOUT.tensors})


def probabilities(weights: Weights, features: NDArray[np.float32]) -> NDArray[np.float32]:
    logits = features @ weights["w"] + weights["b"]
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def descend(weights: Weights, data: Examples, steps: int, lr: float, batch: int, seed: int) -> float:
    """`steps` of plain gradient descent on the cross-entropy, in place; the mean loss over them."""
    rng = np.random.default_rng(seed)
    total = 0.0
    for _ in range(steps):
        chosen = rng.integers(0, len(data[1]), batch)
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


def _weights(flat: NDArray[np.float64]) -> Weights:
    w, b = np.split(flat.astype(np.float32), [FEATURES * CLASSES])
    return {"w": w.reshape(FEATURES, CLASSES), "b": b}


@dataclass(frozen=True)
class TinyFacts:
    samples: int
    has_common: bool
    layout: Layout = LAYOUT
    name: str = TASK
    version: str = "1"

    @property
    def fingerprint(self) -> bytes:
        return self.layout.fingerprint()


@dataclass
class TinyTrainer:
    """`job.context.TrainerLike`; `crash` is that of `Pace`."""

    facts: TinyFacts
    store: Store
    own: Examples  # the last tenth is held out
    common: Examples
    step_s: float
    rng: random.Random
    closed: bool = False
    last: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # its last update
    on_trained: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._pace = Pace(self.step_s, self.rng)
        self.crash = self._pace.crash
        self._train_until = max(1, len(self.own[1]) * 9 // 10)

    async def describe(self) -> TinyFacts:
        return self.facts

    async def fresh(self, seed: int) -> BlobId | None:
        return None  # the first model is fetched like any other

    async def measure_speed(self, batch: int) -> float:
        return await self._pace.measure()

    async def train(
        self,
        params: BlobId,
        *,
        steps: int,
        lr: float,
        batch: int,
        momentum: float,
        seed: int,
        progress: Callable[[float], None],
    ) -> Trained:
        before = self._read(params)
        for piece in range(SLICES):
            await self._pace.slice(steps)
            progress((piece + 1) / SLICES)
        after = {name: array.copy() for name, array in before.items()}
        mine = self.own[0][: self._train_until], self.own[1][: self._train_until]
        loss = descend(after, mine, steps, lr, batch, seed)
        update = {name: after[name] - before[name] for name in after}
        self.last = flatten(LAYOUT, update)
        self.on_trained()
        return Trained(steps, steps * batch, loss, update)

    async def evaluate(self, params: BlobId, which: str, limit: int | None = None) -> Measured:
        await self._pace.work(0.1)
        features, classes = self._held_out(which, limit)
        weights = self._read(params)
        correct = int((probabilities(weights, features).argmax(axis=1) == classes).sum())
        return Measured(len(classes), correct, _loss_sum(weights, (features, classes)))

    async def value(
        self, params: BlobId, updates: Sequence[tuple[float, Payload]], which: str, limit: int
    ) -> Valued:
        """As `learning.contribution` has it: the gradient at the round's midpoint along each update."""
        await self._pace.work(0.1)
        features, classes = self._held_out(which, limit)
        before = flatten(LAYOUT, self._read(params)).astype(np.float64)
        moves = []
        for weight, payload in updates:
            update = decode_update(LAYOUT, payload_bytes(self.store, payload))
            moves.append(weight * flatten(LAYOUT, update).astype(np.float64))
        total = np.sum(moves, axis=0)
        p = probabilities(_weights(before + total / 2), features)
        p[np.arange(len(classes)), classes] -= 1.0
        slope = np.concatenate([(features.T @ p).ravel(), p.sum(axis=0)]) / max(1, len(classes))
        values = tuple(float(-np.dot(slope, move)) + 0.0 for move in moves)
        count = max(1, len(classes))
        begin, end = (_loss_sum(_weights(w), (features, classes)) / count for w in (before, before + total))
        return Valued(values, begin, end, len(classes))

    async def close(self) -> None:
        self.closed = True

    def _held_out(self, which: str, limit: int | None) -> Examples:
        features, classes = self.common
        if which != "common":
            features, classes = self.own[0][self._train_until :], self.own[1][self._train_until :]
        return features[:limit], classes[:limit]

    def _read(self, params: BlobId) -> Weights:
        return {n: np.asarray(a, np.float32) for n, a in unpack(LAYOUT, self.store.read_blob(params)).items()}
