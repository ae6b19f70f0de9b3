"""A task with a torch module, its data and what of its model travels, ready for requests."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from muster.algorithms.slimming.form import Form
from muster.algorithms.slimming.structure import Structure, StructureError
from muster.compression.model import decode_update
from muster.compression.tensors import Array, Layout, TensorError
from muster.coresets.coreset import Coreset
from muster.errors import MusterError
from muster.learning import evaluation, local_state, local_training, metrics, params
from muster.learning import task as tasks
from muster.learning.data import TaskData, open_data
from muster.learning.faults import TaskFault
from muster.learning.hooks import defaults, targets
from muster.learning.hooks.measuring import Measuring
from muster.learning.params import Forward, fresh_model
from muster.learning.raw_samples import given_labels
from muster.learning.slimming.structures import structure_of
from muster.learning.slimming.widths import of_own_width, pruned, sliced, takes_width
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.datasets import DatasetSource
from muster.learning.sources.source import Source
from muster.learning.travel import fixed, kinds
from muster.learning.travel.fingerprint import fingerprint
from muster.learning.travel.kinds import LOCAL, Travelling
from muster.protocol.parts import Metric

EXAMPLES = 8  # batches that show which sizes differ
TRIED_BATCH = 32
TRIED_STEPS = 2
TRIED_LR = 1e-3


@dataclass(frozen=True)
class OpenTask:
    """A task that is ready to train. `pristine` is a model that was never used: each request works on a copy,
    so that nothing but parameters passes from one to the next."""

    task: tasks.Task
    pristine: nn.Module
    travelling: Travelling
    data: TaskData
    metrics: tuple[Metric, ...]
    batch: int = TRIED_BATCH  # samples that training takes at once, as it was last asked
    width: float = 1.0  # the fraction of the channels that the model has
    whole: OpenTask | None = None  # the task of width 1, where this one is smaller
    shape: bytes = b""  # which channels of that width's model it keeps, as in a commit; b"": all
    form: Form | None = None  # the same, where it does not keep all
    coresets: dict[str, Coreset] = field(default_factory=dict)  # of others, that were read, by file
    local: Path | None = None  # the file of what this node keeps of the job for itself

    @property
    def layout(self) -> Layout:
        return self.travelling.layout

    @property
    def forward(self) -> Forward:
        """Shows a model two samples, for layers that take their shapes from them."""
        return partial(_forward, self.task, self.data.own)

    def working_model(self) -> nn.Module:
        """A model in the state that model() left it in; the parameters are to be loaded."""
        model = _copied(self.task, self.pristine, self.forward)
        kinds.retie(model, self.travelling)
        return model

    def loaded(self, arrays: Mapping[str, Any]) -> nn.Module:
        """A working model with what travels from `arrays`, and what is this node's own as it keeps it."""
        model = self.working_model()
        params.load_into(model, self.layout, arrays)
        kept = local_state.load(self.local).get("tensors", {})
        state = model.state_dict()
        fitting = {name: kept[name] for name in self.travelling.of(LOCAL) if name in kept}
        fitting = {name: value for name, value in fitting.items() if value.shape == state[name].shape}
        model.load_state_dict(fitting, strict=False)
        return model

    def own_tensors(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The tensors of `model` that never leave this node, to be kept."""
        state = model.state_dict()
        own = {name: state[name] for name in self.travelling.of(LOCAL)}
        return {n: t.detach().cpu().clone() for n, t in own.items() if isinstance(t, torch.Tensor)}

    def with_fixed(self, path: Path, wanted: bytes) -> OpenTask:
        """The same task with what is frozen or constant from a file, in place of what model() makes.

        `wanted`: the fingerprint that it then has.  Raises TaskFault for another one.
        """
        if self.whole is not None:
            return self.whole.with_fixed(path, wanted).at_width(self.width)
        pristine = self.working_model()
        try:
            travelling = fixed.load_into(pristine, self.travelling, path)
        except TensorError as error:
            raise TaskFault(f"the frozen part of the job does not fit the task here: {error}") from error
        if fingerprint(self.task.name, self.task.version, travelling) != wanted:
            raise TaskFault("the frozen part that the job names is not the one that it was asked with")
        return replace(self, pristine=pristine, travelling=travelling)

    def structure(self) -> Structure:
        """The groups of channels of the model all of whose tensors travel. Raises TaskFault."""
        try:
            found = structure_of(
                self.working_model(),
                partial(_output, self.task, self.data.own),
                lambda model: _copied(self.task, model, self.forward),
            )
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise TaskFault(
                f"the model of the task {self.task.name!r} cannot be taken apart, because it fails in a call "
                f"without a loss: {type(error).__name__}: {text}; its model() may take a `width`"
            ) from error
        travels = self.layout.by_name
        return Structure(tuple(g for g in found.groups if all(s.tensor in travels for s in g.slots)))

    def at_width(self, width: float) -> OpenTask:
        """The same task with a smaller model, or with the whole one again. Raises MusterError, TaskFault."""
        whole = self.whole or self
        if width == 1.0:
            return whole
        if width == self.width:
            return self
        if takes_width(whole.task):
            task = of_own_width(whole.task, width)
        else:
            structure = whole.structure()
            if not structure.groups:
                raise MusterError(
                    "usage",
                    f"the task {whole.task.name!r} has no layer whose width muster can change: train it at "
                    "width 1, or let its model() take a `width`",
                )
            task = sliced(whole.task, structure, width, whole.forward)
        found = _opened(task, whole.data, fixed_of(whole))
        return replace(found, width=width, whole=whole, batch=self.batch, local=self.local)

    def of_shape(self, shape: bytes) -> OpenTask:
        """The same task with the model of a pruned commit. Raises TaskFault for another model's."""
        structure = self.structure()
        try:
            form = Form.of(self.layout, structure, shape)
        except StructureError as error:
            raise TaskFault(f"the model of the job is not that of the task here: {error}") from error
        found = _opened(pruned(self.task, structure, form.shape, self.forward), self.data, fixed_of(self))
        if found.layout != form.layout:
            raise TaskFault("other tensors of the pruned model travel than of the whole one")
        return replace(found, shape=shape, form=form, width=self.width, batch=self.batch, local=self.local)

    def change(self, message: bytes, shape: bytes, base: Mapping[str, Array]) -> Mapping[str, Array]:
        """The update in `message`, of a model of another shape, as one of this model, `base`.

        Raises CodecError, StructureError.
        """
        if shape == self.shape:
            return decode_update(self.layout, message)
        whole, groups = self.layout, self.form.structure if self.form is not None else self.structure()
        if self.form is not None:
            whole = self.form.whole_layout
        old, new = (Form.of(whole, groups, s) for s in (shape, self.shape))
        return new.change(decode_update(old.layout, message), old, lambda: base)

    def model_inputs(self) -> list[Any]:
        """What the model is called with, without targets: a few batches of two samples. Raises TaskFault."""
        own = self.data.own
        few = itertools.islice(own.once(2, 2 * EXAMPLES), EXAMPLES)
        return [_inputs_of(batch.data) for batch in (own.example(), *few)]

    def notes(self) -> dict[str, str]:
        """What an exported file says of the labels' names and preprocessing, as the task says it."""
        said = {"classes": given_labels(self.task), "preprocessing": self.task.preprocessing}
        return {
            key: value if isinstance(value, str) else json.dumps(value, default=str)
            for key, value in said.items()
            if value is not None
        }

    def held_out(self, which: str) -> Source | None:
        """The common evaluation set, or (own) what this node holds out."""
        found = self.data.common if which == "common" else self.data.held_out
        return None if found is None or found.size == 0 else found


def open_task(task: tasks.Task) -> OpenTask:
    """The task with its data, after some steps that are thrown away: its faults show now, and what travels.

    Without a common evaluation set, 10 % of the own data is held out.
    """
    data = open_data(task)
    task.target_facts = targets.of_source(data.common or data.own)
    return _opened(task, data)


def _opened(
    task: tasks.Task, data: TaskData, fixed_parts: Mapping[str, torch.Tensor] = MappingProxyType({})
) -> OpenTask:
    """`fixed_parts` are what is frozen or constant, by name, where that is not as model() makes it."""
    forward = partial(_forward, task, data.own)
    pristine = fresh_model(task, 0, forward)
    _take(pristine, fixed_parts)
    _check_labels(task, _copied(task, pristine, forward), data.own)
    model = _copied(task, pristine, forward)
    changed = kinds.changed_by(partial(_try_steps, task, model, data.own), model)
    travelling = kinds.decide(pristine, changed, task.local)
    return OpenTask(task, pristine, travelling, data, _metrics(task, _copied(task, pristine, forward), data))


def fixed_of(whole: OpenTask) -> dict[str, torch.Tensor]:
    """What is frozen or constant in a task's model, by name."""
    state = whole.pristine.state_dict()
    return {name: state[name] for name in whole.travelling.fixed}


def _take(model: nn.Module, fixed_parts: Mapping[str, torch.Tensor]) -> None:
    """Raises TaskFault where one has another size in this model."""
    state = model.state_dict()
    for name, tensor in fixed_parts.items():
        if name not in state or state[name].shape != tensor.shape:
            raise TaskFault(
                f"the tensor {name} is frozen or constant, and another one at another width: list it in the "
                "task's `local`, or train at width 1"
            )
        state[name].copy_(tensor)


def _inputs_of(batch: Any) -> Any:
    pair = defaults.parted(batch)
    return pair[0] if pair is not None else {key: v for key, v in batch.items() if key != "labels"}


def _copied(task: tasks.Task, pristine: nn.Module, forward: Forward) -> nn.Module:
    try:
        return copy.deepcopy(pristine)
    except Exception:  # some modules cannot be copied, such as those with the old weight_norm
        model = fresh_model(task, 0, forward)
        model.load_state_dict(pristine.state_dict())  # what is frozen may have come from elsewhere
        return model


def _forward(task: tasks.Task, own: Source, model: nn.Module) -> Any:
    """The model's own call where the batch says what that is, else the task's step."""
    batch = own.example().data
    if task.overrides("training_step"):
        return task.training_step(model, batch)
    return _called(model, batch)


def _output(task: tasks.Task, own: Source, model: nn.Module) -> Any:
    """What the model gives for two samples; where it cannot be called alone, the loss of the task's step."""
    batch = own.example().data
    try:
        return _called(model, batch)
    except Exception:
        if not task.overrides("training_step"):
            raise
        return task.training_step(model, batch)


def _called(model: nn.Module, batch: Any) -> Any:
    pair = defaults.parted(batch)
    return model(**batch) if pair is None else defaults.call_model(model, pair[0])


def _try_steps(task: tasks.Task, model: nn.Module, own: Source) -> None:
    """A rate of zero would leave as they are what follows the parameters, such as their moving average."""
    place, tried = own.tell(), _two_at_least(own)
    training = local_training.init(task, model, tried, lr=TRIED_LR, batch=TRIED_BATCH, momentum=0.0, seed=0)
    for _ in range(TRIED_STEPS):
        local_training.step(training)
    if place is not None:
        own.seek(place)


def _two_at_least(own: Source) -> Source:
    """A single sample twice: with one alone a batch norm keeps its statistics, which others change."""
    if own.size != 1:
        return own
    if isinstance(own, ArraySource):
        return own.at([0, 0])
    if isinstance(own, DatasetSource):
        return replace(own, rows=np.zeros(2, np.int64) if own.rows is None else np.repeat(own.rows, 2))
    return own


def _check_labels(task: tasks.Task, model: nn.Module, own: Source) -> None:
    """Raise TaskFault for labels of this node that are out of range, where the default loss is used."""
    if task.overrides("loss") or task.overrides("training_step") or not isinstance(own, ArraySource):
        return
    measuring = Measuring(task, model)
    example = measuring.placed(own.example())
    pair = defaults.parted(example.data)
    if pair is not None:
        [output] = measuring.run(example, lambda part: defaults.call_model(model, pair[0]))
        targets.check_labels(own, output, task.target_facts, "training_data")


def _metrics(task: tasks.Task, model: nn.Module, data: TaskData) -> tuple[Metric, ...]:
    """The task's metrics: as declared, else by what it measures of a few samples. One whose evaluation fails
    has those of a classifier, and no figures."""
    example = (data.common or data.own).example(TRIED_BATCH)
    try:
        measuring = Measuring(task, model)
        on_device = measuring.placed(example)
        measured = measuring.run(on_device, lambda part: evaluation.figures_of(task, model, part))
    except Exception:
        measured = []
    names = {name for found in measured for name in found}
    return metrics.declared(task, names) if names else metrics.declared(task)
