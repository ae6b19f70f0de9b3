"""`muster task check`: does on one node what the daemon does in a job, by the same trainer and its requests.

What the daemon would refuse is a fault; what it would put up with, but its user should know, is a warning.
So the check finds a task good exactly where a daemon would train it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from muster.compression import tensors
from muster.compression.change import Sum
from muster.compression.tensors import Layout, TensorError
from muster.errors import MusterError
from muster.job.figures import Figures
from muster.node.api.found_rate import SECONDS_MAX, with_rate
from muster.node.api.job_description import Request, recipe_of, with_defaults
from muster.node.trainer.child_process import TrainerDied
from muster.node.trainer.messages import InspectedMessage, TaskFacts, TaskSource, TensorFacts
from muster.node.trainer.process import TrainerProcess
from muster.protocol.parts import Recipe

T = TypeVar("T")
STEPS = 5
SEEDS = (0, 1)
HALF = 0.5


@dataclass(frozen=True)
class TaskReport:
    """What was found. `step_s`: seconds a step of the recipe's batch; `memory_bytes`: the trainer's peak.

    `figures`: name -> value after 2 x 5 steps, on `evaluation_samples` held-out samples.  `lr`: what a job
    takes that says no rate, and `lr_from`: where it comes from.
    """

    name: str
    version: str
    fingerprint: str
    parameters: int
    travels_bytes: int  # of a whole model; its updates are smaller by their codec
    samples: int
    evaluation_samples: int
    step_s: float
    lr: float
    lr_from: str
    memory_bytes: int
    seconds: float  # that the check took
    loss: float
    figures: dict[str, float]
    half_parameters: int | None  # at width 0.5; None: it has one width
    one_width: str  # why
    tensors: tuple[TensorFacts, ...]
    faults: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.faults


@dataclass
class _Check:
    """A check in progress: faults end it, warnings do not."""

    trainer: TrainerProcess
    facts: TaskFacts
    folder: Path
    recipe: Recipe  # of a job that says nothing
    lr_from: str  # empty: a test of rates finds it
    tell: Callable[[str], None]
    onnx: bool
    warnings: list[str] = field(default_factory=list)
    loss: float = 0.0
    skipped: int = 0  # samples with NaN, of all data or of the steps that were tried
    figures: dict[str, float] = field(default_factory=dict)
    evaluated: int = 0
    step_s: float = 0.0
    half_parameters: int | None = None
    one_width: str = ""
    looked: InspectedMessage | None = None

    async def run(self) -> None:
        """Raises MusterError for what would end the daemon's work."""
        layout, folder = self.facts.layout, self.folder
        self.tell("trains")
        starts = []
        for seed in SEEDS:
            starts.append(folder / f"start{seed}")
            await self.trainer.initial(starts[-1], seed)
        await self._says_the_same(starts[0], "model()", lambda out: self.trainer.initial(out, SEEDS[0]))
        self.step_s = await self.trainer.measure_speed(self.recipe.batch)
        if not self.lr_from:
            await self._find_rate(starts[0])
        for seed, start in zip(SEEDS, starts, strict=True):
            trained = await self._train(start, folder / f"update{seed}", seed)
        if _teaches_nothing(layout, folder / "update0"):
            self.warnings.append("training changed no parameter: does the loss depend on the model's output?")
        await self._says_the_same(
            folder / "update0", "training", lambda out: self._discard(self._train(starts[0], out, SEEDS[0]))
        )
        model = folder / "model"
        _apply(layout, starts[0], folder / "update0", model)
        self.tell("evaluates, and trains on")
        await self._evaluate(model)
        await self._train(model, folder / "update2", 2)  # after an evaluation, on what was loaded
        self.loss = trained
        if self.skipped:
            self.warnings.append(f"{self.skipped} samples hold NaN and are left out, as skip_bad_rows says")
        self.looked = await self.trainer.inspect()  # before ONNX, which no training needs
        self.tell("saves and loads")
        await self._export(model)
        try:
            self.half_parameters = (await self.trainer.take_width(HALF)).parameters
        except MusterError as error:
            self.one_width = error.sentence

    async def _find_rate(self, start: Path) -> None:
        """As a job does that says none."""
        self.tell("finds the learning rate")
        recipe = self.recipe
        try:
            found = await self.trainer.find_rate(
                start, batch=recipe.batch, momentum=recipe.momentum, seed=recipe.seed, seconds=SECONDS_MAX
            )
        except MusterError as error:  # a job goes on without, too
            self.lr_from = "the default"
            self.warnings.append(f"the test of learning rates failed: {error.sentence}")
            return
        self.recipe, self.lr_from = with_rate(recipe, found), found.origin()

    async def _train(self, base: Path, out: Path, seed: int) -> float:
        done = await self.trainer.train(
            base, out, steps=STEPS, lr=self.recipe.lr, batch=self.recipe.batch, momentum=0.0, seed=seed
        )
        self.skipped = max(self.skipped, self.facts.skipped + done.skipped)
        return done.loss

    @staticmethod
    async def _discard(work: Awaitable[Any]) -> None:
        await work

    async def _says_the_same(
        self, before: Path, what: str, make: Callable[[Path], Awaitable[object]]
    ) -> None:
        """Do it again with one seed: on other nodes it has to come out alike."""
        again = before.with_name(before.name + "-again")
        await make(again)
        if again.read_bytes() != before.read_bytes():
            self.warnings.append(
                f"{what} gave two results for one seed: draw random numbers from torch only, or each node"
                " fetches what it could make itself, and no run can be repeated"
            )

    async def _evaluate(self, model: Path) -> None:
        which = "common" if self.facts.common else "own"
        try:
            found = await self.trainer.evaluate(model, which)
        except MusterError as error:  # a job goes on without figures, too
            self.warnings.append(f"there are no figures: {error.sentence}")
            return
        self.evaluated = found.examples
        self.skipped += found.skipped
        self.figures = Figures(found.examples, found.figures).values(self.facts.metrics)
        if not found.examples:
            self.warnings.append("no sample is held out: there are no figures of this node's own data")

    async def _export(self, model: Path) -> None:
        """Saved and loaded again it is the same; ONNX is a side product."""
        saved, loaded = self.folder / "model.safetensors", self.folder / "loaded"
        await self.trainer.export(model, saved, "safetensors", {})
        await self.trainer.initial(loaded, 0, saved)
        if loaded.read_bytes() != model.read_bytes():
            raise MusterError("task_fault", "a model that was saved and loaded again is another one")
        if not self.onnx:
            return
        try:
            await self.trainer.export(model, self.folder / "model.onnx", "onnx", {})
        except MusterError as error:
            self.warnings.append(f"no ONNX file can be written: {error.sentence}")


async def check(
    trainer: TrainerProcess,
    source: TaskSource,
    folder: Path,
    tell: Callable[[str], None] = lambda what: None,
    clock: Callable[[], float] = time.perf_counter,
    *,
    onnx: bool = True,
) -> TaskReport:
    """Open the task, train, evaluate, load, train again, save and load, in `folder`, which is empty.

    `tell` gets what is done now, in short.
    Raises MusterError when the task cannot even be opened.
    """
    began_s = clock()
    tell("opens the task")
    facts = await _said(trainer.open(source))
    asked = with_defaults(Request(facts.name), facts.defaults)
    lr_from = "" if asked.lr is None else "the task's default"
    work = _Check(trainer, facts, folder, recipe_of(asked), lr_from, tell, onnx)
    faults: list[str] = []
    try:
        await _said(work.run())
    except MusterError as error:
        faults.append(error.sentence)
    looked = work.looked if work.looked is not None else await _said(trainer.inspect())
    return TaskReport(
        name=facts.name,
        version=facts.version,
        fingerprint=facts.fingerprint.hex(),
        parameters=facts.layout.parameters,
        travels_bytes=facts.layout.size_bytes,
        samples=facts.samples,
        evaluation_samples=work.evaluated,
        step_s=work.step_s,
        lr=work.recipe.lr,
        lr_from=work.lr_from,
        memory_bytes=looked.memory_bytes,
        seconds=clock() - began_s,
        loss=work.loss,
        figures=work.figures,
        half_parameters=work.half_parameters,
        one_width=work.one_width,
        tensors=looked.tensors,
        faults=tuple(faults),
        warnings=tuple(work.warnings),
    )


async def _said(work: Awaitable[T]) -> T:
    """`work`, with the child's death as a fault of the task."""
    try:
        return await work
    except TrainerDied as error:
        raise MusterError("task_fault", str(error)) from error
    except TensorError as error:
        raise MusterError("task_fault", str(error)) from error


def _teaches_nothing(layout: Layout, path: Path) -> bool:
    """Whether an update leaves all weights as they are; statistics move anyway."""
    update = tensors.read(layout.changes, path)
    return not any(update[spec.name].any() for spec in layout.tensors if spec.learnt)


def _apply(layout: Layout, start: Path, update: Path, out: Path) -> None:
    """Write what `update` makes of the model `start`."""
    change = tensors.read(layout.changes, update)
    tensors.write(layout, out, dict(Sum(layout, tensors.read(layout, start), change)))
