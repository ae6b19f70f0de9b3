"""What can be trained: the class that a user writes, and how a node finds it.

    class Leaves(Task):
        name, version = "leaves", "1"

        def model(self):                    # a torch.nn.Module
            return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

        def training_data(self):            # this node's own (x, y), all samples along the first axis
            return numpy.load(self.data)["x"], numpy.load(self.data)["y"]

All else has defaults (`hooks/`); the names of the hooks are Lightning's.  A task that comes with one data set
for all nodes cuts out this node's part with `self.mine(x, y)`.  This module does not import torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from muster.algorithms import splits
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.learning.settings import Settings, declared_options
from muster.learning.task_file import import_file
from muster.protocol.ids import short

if TYPE_CHECKING:
    import torch
    from torch import nn

    from muster.coresets.coreset import Space
    from muster.learning.hooks.optimisers import Parameters
    from muster.learning.hooks.targets import TargetFacts

GROUP = "muster.tasks"
NAME_CHARACTERS_MAX = 64


@dataclass(frozen=True)
class FitRecipe:
    """What a job's recipe says about the work of one round, for `Task.fit`."""

    lr: float = 0.05
    batch: int = 32
    momentum: float = 0.0
    round: int = 1
    report: Callable[[int], None] = lambda steps: None  # call it with the steps done, if they take long


class Task:
    """The base of every task. `name` and `version` are part of its fingerprint.

    What stands under [tasks.NAME] in node.toml: `data`, a path that the task understands; `part` of `parts`,
    this node's share under `split` when several nodes share one data set; `seed` of splits; how this node
    trains (`Settings`).  All else must be declared in `options`, with its default.
    """

    name: str = ""
    version: str = "1"
    metrics: dict[str, Any] | None = None  # name -> "max" | "min" | ("min", "exp"); the first is the headline
    defaults: dict[str, Any] = {}  # noqa: RUF012 - of its jobs: lr, batch, steps, rounds and the like, by name
    options: dict[str, Any] = {}  # noqa: RUF012 - a declaration: the instance has its own, with the node's values
    local: Sequence[str] = ()  # patterns of tensors that never leave the node, such as "head.*"
    labels: Sequence[str] | dict[int, str] | None = None  # the names of the model's outputs, in order
    classes: Sequence[str] | dict[int, str] | None = None  # the older name of `labels`
    preprocessing: str | dict[str, Any] | None = None  # what was done to the inputs, for exported files
    raw: tuple[str, tuple[int, ...]] | None = None  # dtype and shape of one sample that prepare() takes
    automatic_optimization = True  # False: training_step() steps `self.optimizers` itself
    gradient_clip_val: float | None = None  # the norm to which all gradients together are clipped
    keep_optimizer = True  # whether the state of configure_optimizers() survives the round on its node
    skip_bad_rows = False  # whether rows that hold NaN are left out and counted, rather than refused
    optimizers: tuple[Any, ...] = ()  # of the training that goes on
    target_facts: TargetFacts | None = None  # what default losses know of all targets; from opening the data
    # Of tasks that train named arrays by `fit` (arrays/array_task.py):
    statistics: tuple[str, ...] = ()  # patterns of arrays that are averaged, never extrapolated
    measures_common = False  # `measure` has the same data on every node
    recipe = FitRecipe()  # of the round that `fit` works for

    def __init__(
        self,
        *,
        data: str | None = None,
        split: str = "iid",
        part: int = 0,
        parts: int = 1,
        seed: int = 0,
        **options: Any,
    ) -> None:
        splits.parse(split)
        if not 0 <= part < parts:
            raise MusterError("usage", f"there is no part {part} of {parts}: parts are 0 to {parts - 1}")
        self.data = None if data is None else Path(data).expanduser()
        self.split, self.part, self.parts, self.seed = split, part, parts, seed
        self.settings, given = Settings.taken_from(options, self.name)
        self.options = declared_options(self.name, type(self).options, given)

    def model(self) -> nn.Module:
        """A new model; muster seeds torch before it calls this."""
        raise NotImplementedError

    def training_data(self) -> Any:
        """This node's own samples.

        (x, y): tensors or arrays, samples along the first axis; a classifier has integer y.  Or another
        pytree of arrays, a Dataset, an IterableDataset, or a function (batch, seed) that makes a DataLoader.
        """
        raise NotImplementedError

    def evaluation_data(self) -> Any:
        """Samples that every node has, as training_data() may return them; None: every node holds out 10 % of
        its own data."""
        return None

    def prepare(self, x: Any) -> Any:
        """Raw samples, as whoever uses the model has them, become what the model takes: torch tensors of a
        batch in and out.

        By default they are the same.  It becomes a part of the served model, and is applied to raw samples
        that the node has stored.  A task that has it says in `raw` what it takes.  training_data() returns
        what the model takes: prepared samples.
        """
        return x

    def loss(self, output: Any, target: Any) -> torch.Tensor:
        """The mean loss of a batch, by the kind of target (hooks/targets.py) unless overridden."""
        from muster.learning.hooks import targets

        return targets.loss(output, target, self.target_facts)

    def correct(self, output: Any, target: Any) -> int:
        """How many samples of the batch are right: an older hook for what "accuracy" is."""
        return int((output.argmax(1) == target).sum())

    def training_step(self, model: nn.Module, batch: Any) -> torch.Tensor | None:
        """The loss of a batch, for whose gradient the optimisers step.

        With `automatic_optimization = False` it steps `self.optimizers` itself; what it returns is shown.
        """
        from muster.learning.hooks import defaults

        return defaults.training_step(self, model, batch)

    def augment(self, batch: Any) -> Any:
        """A batch of samples that other nodes shared, changed at random a little, to train on.

        Not called for this node's own data alone: a task that wants this changes them in `training_step`.
        """
        return batch

    def validation_step(self, model: nn.Module, batch: Any) -> dict[str, tuple[float, float]]:
        """The figures of a batch: name -> (sum, count). Shown is sum / count over all batches and nodes."""
        from muster.learning.hooks import defaults

        return defaults.validation_step(self, model, batch)

    def configure_optimizers(self, parameters: Parameters, lr: float) -> Any:
        """An optimiser, (optimiser, scheduler) or a list of them, for a round with the rate `lr`.

        None: SGD with the recipe's momentum, from zero in each round.  Schedulers step after each batch.
        """
        return None

    def on_round_begin(self, model: nn.Module, round: int) -> None:
        """Before the optimisers are made; `model` has the round's parameters, `round` counts from 1."""

    def on_round_end(self, model: nn.Module, round: int) -> None:
        """After the last step, before the update is taken from `model`."""

    def initial(self, seed: int) -> dict[str, Any]:
        """Of a task of any framework: the arrays that are trained together, by name; the same for a seed."""
        raise NotImplementedError

    def fit(
        self, arrays: dict[str, Any], steps: int, seed: int
    ) -> tuple[dict[str, Any], int, dict[str, Any]]:
        """Train `arrays` for `steps` steps on this node's data: (arrays, examples, metrics).

        `examples`: how many samples this node has, its weight.  `metrics`: {"loss": mean loss} or nothing.
        `self.recipe` has the job's lr, batch and momentum.  Whoever overrides this needs no torch module.
        """
        raise NotImplementedError

    def measure(self, arrays: dict[str, Any]) -> dict[str, tuple[float, float]]:
        """The figures of `arrays` on what this node does not train on: name -> (sum, count)."""
        return {}

    def coreset_space(self, x: Any, y: Any) -> Space | None:
        """How samples that others may train on are quantised (docs/coresets.md): by default from the data.

        `x` (n, ...) float32 and `y` (n,) are arrays of this node's samples.  None: none ever leaves it.
        """
        from muster.coresets.spaces import default_space

        return default_space(x, y)

    def overrides(self, hook: str) -> bool:
        """Whether the task has a hook of its own in place of the default."""
        return getattr(type(self), hook) is not getattr(Task, hook)

    def kept(self) -> bytes:
        """Of an array task: what stays on this node of a job, from round to round and over restarts."""
        return b""

    def keep(self, data: bytes) -> None:
        """Take up what `kept` gave in the job's last round here; empty in its first."""

    def mine(self, x: Any, y: Any) -> tuple[Any, Any]:
        """This node's part of a data set that all nodes share, by `split`, `part`, `parts` and `seed`."""
        if self.parts == 1:
            return x, y
        chosen = splits.split(np.asarray(y), self.split, self.parts, self.seed)[self.part]
        return x[chosen], y[chosen]


def fingerprint(name: str, version: str, layout: Layout) -> bytes:
    """SHA-256 of name, version, and the parameters' names, shapes and dtypes."""
    head = b"\x00".join((b"muster-task", name.encode(), version.encode(), b""))
    return hashlib.sha256(head + layout.fingerprint()).digest()


def other_version(name: str, mine: bytes, other: bytes) -> str:
    """What a node says whose task has another fingerprint than the job's."""
    return (
        f"the task {name!r} here has fingerprint {short(mine)}, the job's has {short(other)}: install the "
        "same version of the task on every node"
    )


def installed() -> dict[str, str]:
    """name -> "module:Class" of the tasks that installed packages offer; nothing is imported."""
    return {point.name: point.value for point in importlib.metadata.entry_points(group=GROUP)}


def is_file(reference: str) -> bool:
    """Whether `reference` is a file (`path/to/file.py`, `path/to/file.py:Class`), not an installed task."""
    return ".py:" in reference or reference.endswith(".py")


def is_flower(reference: str, options: dict[str, Any]) -> bool:
    """Whether a Flower app is meant: by the option `flower`, or by the app's folder."""
    project = Path(reference).expanduser() / "pyproject.toml"
    return "flower" in options or (
        project.is_file() and "[tool.flwr" in project.read_text("utf-8", "replace")
    )


def load(reference: str, options: dict[str, Any]) -> Task:
    """The task behind an installed name or a file, with its options. Imports it, and so torch.

    Raises MusterError: unknown_task, usage, bad_data; what the task's own code raises passes through.
    """
    kind = _from_file(reference) if is_file(reference) else _installed(reference)
    check_name(kind)
    return kind(**options)


def check_name(kind: type[Task] | Task) -> None:
    """Raises MusterError("task_fault") for a name that cannot stand in node.toml and in records."""
    name = kind.name
    if not name or len(name) > NAME_CHARACTERS_MAX or not all(c.isalnum() or c in "-_." for c in name):
        raise MusterError(
            "task_fault",
            f"the task has the name {name!r}: use 1 to {NAME_CHARACTERS_MAX} letters, digits, '-', '_' or"
            " '.'",
        )


def _installed(name: str) -> type[Task]:
    points = list(importlib.metadata.entry_points(group=GROUP, name=name))
    if not points:
        known = ", ".join(sorted(installed())) or "none"
        raise MusterError("unknown_task", f"there is no task {name!r}: use one of {known}, or a .py file")
    kind = points[0].load()
    if not (isinstance(kind, type) and issubclass(kind, Task)):
        raise MusterError("task_fault", f"the entry point {points[0].value} is not a class derived from Task")
    return kind


def _from_file(reference: str) -> type[Task]:
    text, _, wanted = reference.rpartition(":") if ".py:" in reference else (reference, "", "")
    path = Path(text).expanduser()
    if not path.is_file():
        raise MusterError("unknown_task", f"there is no task file {text}: check the path")
    module = import_file(path.resolve())
    found = {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Task) and value.__module__ == module.__name__
    }
    if wanted:
        if wanted not in found:
            raise MusterError("unknown_task", f"{text} has no class {wanted} derived from muster's Task")
        return found[wanted]
    if len(found) != 1:
        names = ", ".join(sorted(found)) or "none"
        raise MusterError(
            "unknown_task", f"{text} must hold one Task class or be given as {text}:Class; it has {names}"
        )
    return next(iter(found.values()))
