"""An exact linear stand-in for the trainer child: gradient descent on |w - t|^2 / 2, t being the node's own.

After `steps` steps at rate lr: w' = t + (w - t) (1 - lr)^steps, in virtual time `steps * step_s`.  The model
is one small float32 tensor, so that whole jobs cost milliseconds; everything else of the trainer's contract
(progress, evaluation, dying half-way) is kept.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.compression.model import decode_update
from muster.compression.tensors import Layout, TensorSpec, pack, unpack
from muster.job.context import Measured, Trained, Valued
from muster.job.payloads import payload_bytes
from muster.records import BlobId, Payload
from muster.simulation.pace import SLICES, Pace
from muster.storage.store import Store

TASK = "linear"
COMMON_EXAMPLES = 1000
OWN_EXAMPLES = 100


@dataclass(frozen=True)
class LinearFacts:
    layout: Layout
    samples: int
    has_common: bool
    name: str = TASK
    version: str = "1"

    @property
    def fingerprint(self) -> bytes:
        return self.layout.fingerprint()


def layout_of(size: int) -> Layout:
    """The layout of a stand-in model of `size` weights."""
    return Layout((TensorSpec("w", (size,), "float32"),))


def target_of(seed: int, size: int) -> NDArray[np.float32]:
    """A node's own optimum."""
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def initial_blob(layout: Layout) -> bytes:
    """The parameters that every job begins with: zeros."""
    return pack(layout, {"w": np.zeros(layout.tensors[0].shape, np.float32)})


@dataclass
class LinearTrainer:
    """`job.context.TrainerLike`; `crash` is that of `Pace`."""

    facts: LinearFacts
    store: Store
    target: NDArray[np.float32]
    step_s: float
    rng: random.Random
    closed: bool = False
    last: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # its last update
    on_trained: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self._pace = Pace(self.step_s, self.rng)
        self.crash = self._pace.crash

    async def describe(self) -> LinearFacts:
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
        after = trained(before, self.target, lr, steps)
        self.last = after - before
        self.on_trained()
        loss = float(np.square(after.astype(np.float64) - self.target).mean())
        return Trained(steps, steps * batch, loss, {"w": after - before})

    async def evaluate(self, params: BlobId, which: str, limit: int | None = None) -> Measured:
        examples = COMMON_EXAMPLES if which == "common" else OWN_EXAMPLES
        if limit is not None:
            examples = min(examples, limit)
        await self._pace.work(0.1)
        target = np.zeros_like(self.target) if which == "common" else self.target
        loss = float(np.square(self._read(params).astype(np.float64) - target).mean())
        return Measured(examples, round(examples / (1.0 + loss)), loss * examples)

    async def value(
        self, params: BlobId, updates: Sequence[tuple[float, Payload]], which: str, limit: int
    ) -> Valued:
        """Exact here: the loss is quadratic, so that the values add up to the drop to the last digit."""
        await self._pace.work(0.1)
        target = np.zeros_like(self.target) if which == "common" else self.target
        examples = min(limit, COMMON_EXAMPLES if which == "common" else OWN_EXAMPLES)
        before = self._read(params).astype(np.float64)
        moves = []
        for weight, payload in updates:
            update = decode_update(self.facts.layout, payload_bytes(self.store, payload))
            moves.append(weight * update["w"].astype(np.float64))
        total = np.sum(moves, axis=0)
        slope = 2.0 * (before + total / 2 - target) / before.size
        values = tuple(float(-np.dot(slope, move)) + 0.0 for move in moves)
        drop_from, drop_to = (float(np.square(w - target).mean()) for w in (before, before + total))
        return Valued(values, drop_from, drop_to, examples)

    async def close(self) -> None:
        self.closed = True

    def _read(self, params: BlobId) -> NDArray[np.float32]:
        arrays: dict[str, Any] = unpack(self.facts.layout, self.store.read_blob(params))
        return np.asarray(arrays["w"])


def trained(
    before: NDArray[np.float32], target: NDArray[np.float32], lr: float, steps: int
) -> NDArray[np.float32]:
    """The weights after `steps` steps, in fp64, rounded once."""
    kept = (1.0 - lr) ** steps
    wide = target + (before.astype(np.float64) - target) * kept
    return np.asarray(wide.astype(np.float32))
