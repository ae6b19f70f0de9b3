"""A trainer in virtual time, with real arithmetic on a flat vector, in place of the trainer child.

A kind of trainer defines how it learns and what its loss is (`linear`: in closed form; `tiny`: from data).
The trainer's contract (progress, evaluation, contributions, dying in the midst of work) is kept here, once.
"""

from __future__ import annotations

import hashlib
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from muster.algorithms.slimming.carrying import layout_of
from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.shape import first
from muster.algorithms.slimming.structure import Structure
from muster.compression.model import decode_update, flatten
from muster.compression.tensors import Array, Layout, unpack
from muster.errors import MusterError
from muster.job.context import (
    ContributionResult,
    Difference,
    EvaluationResult,
    MadeSamples,
    Model,
    TrainingRequest,
    TrainingResult,
    Weighted,
)
from muster.job.models.payloads import payload_bytes
from muster.protocol.ids import BlobId, JobId
from muster.protocol.parts import CLASSES, Metric
from muster.protocol.records import Shared
from muster.protocol.validation.limits import SHARED_BYTES_MAX
from muster.simulation.trainers.pace import SLICES, Pace
from muster.storage.store import Store

Vector: TypeAlias = NDArray[np.float32]
Wide: TypeAlias = NDArray[np.float64]
Weighed: TypeAlias = tuple[bytes, float]  # samples as they travel, and the weight of all of them


@dataclass(frozen=True)
class SimFacts:
    """`job.context.Facts`."""

    name: str
    layout: Layout
    samples: int
    has_common: bool
    version: str = "1"
    skipped: int = 0
    steps_max: int | None = None
    metrics: tuple[Metric, ...] = CLASSES
    defaults: dict[str, Any] = field(default_factory=dict)  # of its jobs
    frozen: bytes = b""  # what the task does not train
    whole: Layout | None = None  # of the whole model, where `layout` is a smaller one's

    @property
    def fingerprint(self) -> bytes:
        """As a real task's: the last eight bytes are of what is frozen alone."""
        whole = (self.whole or self.layout).fingerprint()
        return whole[:24] + hashlib.sha256(self.frozen).digest()[:8] if self.frozen else whole


class SimTrainer(ABC):
    """Implements `job.context.TrainerLike`; `crash` is that of `Pace`.

    `which` is "common" or "own" held-out data, of which at most `limit` examples are used.  `on_trained` is
    called with the trainer when a piece of training is done.
    """

    def __init__(
        self,
        facts: SimFacts,
        store: Store,
        step_s: float,
        rng: random.Random,
        on_trained: Callable[[SimTrainer], None] = lambda trainer: None,
    ) -> None:
        self.facts = facts
        self.closed = False
        self.job: JobId = b""  # that it works for
        self.last: Vector = np.zeros(0, np.float32)  # its last update
        self._store, self._on_trained = store, on_trained
        self._pace = Pace(step_s, rng)
        self.crash = self._pace.crash

    # ---- what a kind of trainer defines --------------------------------------------------------------

    @abstractmethod
    def learn(self, before: Vector, steps: int, lr: float, batch: int, seed: int) -> tuple[Vector, float]:
        """The weights after `steps` steps, and the loss that a trainer would report of them."""

    @abstractmethod
    def learn_from(
        self, shared: Sequence[Weighed], before: Vector, steps: int, lr: float, batch: int, seed: int
    ) -> tuple[Vector, float]:
        """The same on samples of several nodes. Raises MusterError where they are nothing to learn from."""

    @abstractmethod
    def samples(
        self, bytes_max: int, classes: Sequence[int] | None, seed: int
    ) -> tuple[bytes, int, int] | None:
        """Some of its data in `bytes_max` at most, how many samples that are, and how many of its own they
        stand for; None: there is no room for one."""

    @abstractmethod
    def check_shared(self, shared: bytes, samples: int) -> None:
        """Raises MusterError unless this is what it can train on, `samples` of another node."""

    @abstractmethod
    def measure(self, weights: Vector, which: str, limit: int | None) -> EvaluationResult: ...

    @abstractmethod
    def mean_loss(self, weights: Wide, which: str, limit: int) -> tuple[float, int]:
        """The held-out loss, and of how many examples it is the mean."""

    @abstractmethod
    def slope(self, weights: Wide, which: str, limit: int) -> NDArray[np.floating]:
        """The gradient of `mean_loss`."""

    def groups(self, layout: Layout) -> Structure:
        """Those of a model's channels that can go."""
        return Structure()

    # ---- the trainer's contract ----------------------------------------------------------------------

    async def describe(self) -> SimFacts:
        return self.facts

    async def fresh(self, seed: int) -> BlobId | None:
        return None  # the first model is fetched like any other

    def work_for(self, job: JobId, share: float = 1.0, replay: int | None = None) -> None:
        self.job, self._pace.share = job, share
        if replay is not None:  # what the common set shows is not what changed
            self.facts = replace(self.facts, has_common=False)

    async def differs(self, fingerprint: bytes) -> Difference:
        sentence = "the task here is of another version than the job's: install the same one on every node"
        return Difference(sentence, self.facts.fingerprint[:24] == fingerprint[:24])

    async def take_frozen(self, frozen: BlobId, fingerprint: bytes) -> SimFacts:
        self.facts = replace(self.facts, frozen=self._store.read_blob(frozen))
        assert self.facts.fingerprint == fingerprint
        return self.facts

    async def take_width(self, width: float) -> SimFacts:
        whole = self.facts.whole or self.facts.layout
        groups = self.groups(whole)
        if width != 1.0 and not groups.groups:
            raise MusterError("usage", "this task's model has one width")
        layout = layout_of(whole, groups, first(groups, width))
        if layout != self.facts.layout:
            self.facts = replace(self.facts, layout=layout, whole=whole)
        return self.facts

    async def structure(self) -> Structure:
        return self.groups(self.facts.layout)

    async def measure_speed(self, batch: int) -> float:
        return await self._pace.measure()

    async def train(
        self, model: Model, request: TrainingRequest, progress: Callable[[float], None]
    ) -> TrainingResult:
        before, form = self._read(model), self._form(model.shape)
        shared = [(bytes(self._store.read_blob(blob)), weight) for blob, weight in request.samples]
        for piece in range(SLICES):
            await self._pace.slice(request.steps)
            progress((piece + 1) / SLICES)
        steps, batch = request.steps, request.batch
        if request.samples:
            if request.own_weight and (mine := self.samples(SHARED_BYTES_MAX, None, request.seed)):
                shared.append((mine[0], request.own_weight))
            after, loss = self.learn_from(shared, before, steps, request.lr, batch, request.seed)
        else:
            assert self.facts.samples, "a node without data is asked to train on its own"
            after, loss = self.learn(before, steps, request.lr, batch, request.seed)
        update = form.params(self._tensors(after - before), self._form(b""))
        self.last = self._whole(update, form)
        self._on_trained(self)
        return TrainingResult(steps, steps * batch, loss, self._pace.step_s / self._pace.share, dict(update))

    async def share(
        self, bytes_max: int, means_only: bool, classes: Sequence[int] | None, seed: int
    ) -> MadeSamples | str:
        await self._pace.work(0.5)
        found = self.samples(bytes_max, classes, seed)
        if found is None:
            return f"not one sample fits into {bytes_max} bytes"
        message, count, stands_for = found
        staged = self._store.stage((message,))
        return MadeSamples(staged, "means" if means_only else "samples", count, stands_for, 32)

    async def check_samples(self, blob: BlobId, record: Shared) -> str:
        await self._pace.work(0.1)
        try:
            self.check_shared(bytes(self._store.read_blob(blob)), record.samples)
        except MusterError as error:
            return error.sentence
        return ""

    async def evaluate(self, model: Model, which: str, limit: int | None = None) -> EvaluationResult:
        await self._pace.work(0.1)
        return self.measure(self._read(model), which, limit)

    async def value(
        self, model: Model, updates: Sequence[Weighted], which: str, limit: int
    ) -> ContributionResult:
        """First-order Shapley values, by the formula of algorithms/contribution.py."""
        await self._pace.work(0.1)
        before = self._read(model).astype(np.float64)
        moves = [u.weight * self._decoded(u, model.shape) for u in updates]
        total = np.sum(moves, axis=0)
        slope = self.slope(before + total / 2, which, limit)
        values = tuple(float(-np.dot(slope, move)) + 0.0 for move in moves)
        begin, _ = self.mean_loss(before, which, limit)
        end, examples = self.mean_loss(before + total, which, limit)
        return ContributionResult(values, begin, end, examples)

    async def close(self) -> None:
        self.closed = True

    # ---- tensors and vectors: a channel that a model has not is one of zeros ---------------------------

    def _form(self, shape: bytes) -> Form:
        return Form.of(self.facts.layout, self.groups(self.facts.layout), shape)

    def _whole(self, arrays: Mapping[str, Array], form: Form) -> Vector:
        """Tensors of a model of a form as the vector of the whole one."""
        whole = self._form(b"")
        return flatten(whole.layout, whole.params(arrays, form))

    def _read(self, model: Model) -> Vector:
        form = self._form(model.shape)
        return self._whole(unpack(form.layout, self._store.read_blob(model.blob)), form)

    def _decoded(self, update: Weighted, shape: bytes) -> Wide:
        """What an update changes of a model of a shape."""
        made_on, form = self._form(update.shape), self._form(shape)
        arrays = decode_update(made_on.layout, payload_bytes(self._store, update.payload))
        return self._whole(form.params(arrays, made_on), form).astype(np.float64)

    def _tensors(self, vector: Vector) -> dict[str, Vector]:
        """Copies: whoever gets an update may change it."""
        tensors, offset = {}, 0
        for spec in self.facts.layout.tensors:
            tensors[spec.name] = vector[offset : offset + spec.size].reshape(spec.shape).copy()
            offset += spec.size
        return tensors
