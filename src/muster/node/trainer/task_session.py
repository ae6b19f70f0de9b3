"""Handles the trainer's requests with torch: plain values in and out, tensors through files.

Each request is a function of the open task, a progress callback and the request's own arguments.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from muster.algorithms.contribution import WeightedUpdate
from muster.compression import tensors
from muster.compression.change import difference
from muster.compression.model import decode_update
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.learning import contribution, evaluation, export, local_state, local_training, metrics, params
from muster.learning import task as tasks
from muster.learning.data import TaskData, open_data
from muster.learning.faults import TaskFault
from muster.learning.hooks import defaults, targets
from muster.learning.hooks.measuring import Measuring
from muster.learning.params import fresh_model
from muster.learning.sources.arrays import ArraySource
from muster.learning.sources.source import Source
from muster.protocol.records import Metric

TRIED_BATCH = 32
MEASURE_STEPS = 8
MEASURE_S_MAX = 3.0
STREAM_SAMPLES = 10_000  # what a source whose size is not known counts as
LABELS_MAX = 1000  # more different ones are no classes

OnStep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class OpenTask:
    """A task that is ready to train. `pristine` is a model that was never used: each request works on a copy,
    so that nothing but parameters passes from one to the next."""

    task: tasks.Task
    pristine: nn.Module
    layout: Layout
    data: TaskData
    metrics: tuple[Metric, ...]
    batch: int = TRIED_BATCH  # samples that training takes at once, as it was last asked
    local: Path | None = None  # the file of what this node keeps of the job for itself

    def working_model(self) -> nn.Module:
        """A model in the state that model() left it in; the parameters are to be loaded."""
        try:
            return copy.deepcopy(self.pristine)
        except Exception:  # some modules cannot be copied, such as those with the old weight_norm
            return fresh_model(self.task, 0)

    def held_out(self, which: str) -> Source | None:
        """The common evaluation set, or (own) what this node holds out."""
        found = self.data.common if which == "common" else self.data.held_out
        return None if found is None or found.size == 0 else found


class TaskSession:
    """Holds an open task that has a torch module. Raises what the task raises."""

    def __init__(self, task: tasks.Task) -> None:
        self.opened = open_task(task)
        local_training.step(_idle_training(self.opened, TRIED_BATCH))  # a fault of the task shows now

    def facts(self) -> dict[str, Any]:
        return describe(self.opened, lambda _: None)

    def do(self, what: str, arguments: dict[str, Any], on_step: OnStep) -> dict[str, Any]:
        """The result of a request."""
        commands: dict[str, Callable[..., dict[str, Any]]] = {
            "describe": describe,
            "initial": initial,
            "measure_speed": measure_speed,
            "train": train,
            "evaluate": evaluate,
            "value": value,
            "export": export_model,
            "inspect": inspect,
        }
        command = commands.get(what)
        if command is None:
            raise MusterError("internal", f"the trainer does not know the request {what!r}")
        local = arguments.pop("local", None)
        batch = arguments.get("batch", self.opened.batch)
        self.opened = replace(self.opened, local=None if local is None else Path(local), batch=batch)
        return command(self.opened, on_step, **arguments)


def open_task(task: tasks.Task) -> OpenTask:
    """The task with its data. Without a common evaluation set, 10 % of the own data is held out."""
    model = fresh_model(task, 0)
    if not isinstance(model, nn.Module):
        raise TaskFault(f"model() must return a torch.nn.Module, not {type(model).__name__}")
    data = open_data(task)
    task.target_facts = targets.of_source(data.common or data.own)
    opened = OpenTask(task, model, params.layout_of(model), data, ())
    _check_labels(opened)
    return replace(opened, metrics=_metrics(opened))


def _check_labels(opened: OpenTask) -> None:
    """Raise TaskFault for labels of this node that are out of range, where the default loss is used."""
    task, own = opened.task, opened.data.own
    if task.overrides("loss") or task.overrides("training_step") or not isinstance(own, ArraySource):
        return
    model = opened.working_model()
    measuring = Measuring(task, model)
    example = measuring.placed(own.example())
    pair = defaults.parted(example.data)
    if pair is not None:
        [output] = measuring.run(example, lambda part: defaults.call_model(model, pair[0]))
        targets.check_labels(own, output, task.target_facts, "training_data")


def _metrics(opened: OpenTask) -> tuple[Metric, ...]:
    """The task's metrics: as declared, else by what it measures of a few samples. One whose evaluation fails
    has those of a classifier, and no figures."""
    example = (opened.data.common or opened.data.own).example(TRIED_BATCH)
    model = opened.working_model()
    try:
        measuring = Measuring(opened.task, model)
        on_device = measuring.placed(example)
        measured = measuring.run(on_device, lambda part: evaluation.figures_of(opened.task, model, part))
    except Exception:
        measured = []
    names = {name for found in measured for name in found}
    return metrics.declared(opened.task, names) if names else metrics.declared(opened.task)


def describe(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """The task's name, fingerprint and layout, and what this node holds of its data."""
    own, common = opened.data.own, opened.data.common
    labels = own.labels if isinstance(own, ArraySource) else None
    classes: list[list[int]] = []
    if labels is not None:
        values, counts = torch.unique(torch.from_numpy(labels), return_counts=True)
        if len(values) <= LABELS_MAX:
            classes = [[int(v), int(c)] for v, c in zip(values, counts, strict=True)]
    return {
        "name": opened.task.name,
        "version": opened.task.version,
        "fingerprint": tasks.fingerprint(opened.task.name, opened.task.version, opened.layout),
        "layout": opened.layout.to_plain(),
        "samples": STREAM_SAMPLES if own.size is None else own.size,
        "classes": classes,
        "metrics": [[m.name, m.best, m.exp] for m in opened.metrics],
        "defaults": dict(opened.task.defaults),
        "common": 0 if common is None else STREAM_SAMPLES if common.size is None else common.size,
    }


def initial(opened: OpenTask, on_step: OnStep, seed: int, source: str | None, out: str) -> dict[str, Any]:
    """Starting parameters, fresh from the seed or from a safetensors file."""
    if source is None:
        arrays = params.arrays_of(fresh_model(opened.task, seed), opened.layout)
    else:
        arrays = export.load_safetensors(Path(source), opened.layout)
    return {"size_bytes": tensors.write(opened.layout, Path(out), arrays, synced=True)}


def _idle_training(opened: OpenTask, batch: int) -> local_training.LocalTraining:
    """Steps that teach nothing."""
    return local_training.init(
        opened.task, opened.working_model(), opened.data.own, lr=0.0, batch=batch, momentum=0.0, seed=0
    )


def measure_speed(opened: OpenTask, on_step: OnStep, batch: int) -> dict[str, Any]:
    """Median seconds of one step of `batch`, on parameters that are thrown away."""
    training = _idle_training(opened, batch)
    local_training.step(training)  # the first step builds kernels and caches
    on_step({"done": 0, "of": MEASURE_STEPS})
    times_s: list[float] = []
    while len(times_s) < MEASURE_STEPS and sum(times_s) < MEASURE_S_MAX:
        before_s = time.perf_counter()
        local_training.step(training)
        times_s.append(time.perf_counter() - before_s)
        on_step({"done": len(times_s), "of": MEASURE_STEPS})
    return {"step_s": statistics.median(times_s)}


def train(
    opened: OpenTask,
    on_step: OnStep,
    base: str,
    out: str,
    steps: int,
    lr: float,
    batch: int,
    momentum: float,
    seed: int,
    round: int = 1,
) -> dict[str, Any]:
    """At least one step from `base`; the difference goes to `out`, what stays here to `opened.local`."""
    before = tensors.read(opened.layout, Path(base))
    model, own = opened.working_model(), opened.data.own
    params.load_into(model, opened.layout, before)
    kept = local_state.load(opened.local)
    own.seek(local_state.place_of(kept))
    times_s: list[float] = []
    began_s = time.perf_counter()

    def stepped(n: int, loss: float) -> None:
        nonlocal began_s
        times_s.append(time.perf_counter() - began_s)
        on_step({"done": n, "of": steps, "loss": loss})
        began_s = time.perf_counter()  # the report and the throttle's sleep are no part of a step

    done = local_training.train(
        opened.task,
        model,
        own,
        steps=steps,
        lr=lr,
        batch=batch,
        momentum=momentum,
        seed=seed,
        round_=round,
        state=kept.get("optimizers"),
        on_step=stepped,
    )
    after = params.arrays_of(model, opened.layout)
    try:
        tensors.check(opened.layout, after)
        update = difference(opened.layout, before, after)
        tensors.write(opened.layout.changes, Path(out), update)
    except tensors.TensorError as error:
        raise TaskFault(f"training ended in nonsense: {error}; try a lower learning rate") from error
    local_state.save(opened.local, {**kept, "optimizers": done.state, "place": own.tell()})
    step_s = statistics.median(times_s)
    return {"steps": done.steps, "examples": done.examples, "loss": done.loss, "step_s": step_s}


def evaluate(
    opened: OpenTask, on_step: OnStep, base: str, which: str, limit: int | None = None
) -> dict[str, Any]:
    """`base` on the common evaluation set, or (own) on what this node holds out; the first `limit` of it."""
    data = opened.held_out(which)
    if data is None:
        return {"examples": 0, "figures": {}}
    model = opened.working_model()
    params.load_into(model, opened.layout, tensors.read(opened.layout, Path(base)))
    of = min(data.size or limit or 1, limit or data.size or 1)
    batch = evaluation.fitting_batch(opened.task, opened.working_model(), data.example(), opened.batch)
    found = evaluation.evaluate(
        opened.task,
        model,
        data,
        lambda n: on_step({"done": n, "of": max(n, of)}),
        batch=batch,
        limit=limit,
    )
    return {"examples": found.examples, "figures": metrics.checked(found.figures, opened.metrics)}


def value(
    opened: OpenTask, on_step: OnStep, before: str, updates: list[list[Any]], which: str, limit: int
) -> dict[str, Any]:
    """What a round's updates, each [weight, message or the path of one], were worth on held-out data."""
    data = opened.held_out(which)
    if data is None:
        return {"values": [], "before": 0.0, "after": 0.0, "examples": 0}

    def part(weight: float, source: bytes | str) -> WeightedUpdate:
        def read() -> dict[str, Any]:
            message = source if isinstance(source, bytes) else Path(source).read_bytes()
            return decode_update(opened.layout, message)

        return WeightedUpdate(weight, read)

    found = contribution.contributions(
        opened.task,
        opened.working_model(),
        opened.layout,
        tensors.read(opened.layout, Path(before)),
        [part(weight, source) for weight, source in updates],
        data.sample(limit),
        lambda: on_step({"done": 0, "of": 1}),
        opened.batch,
    )
    return {
        "values": list(found.values),
        "before": found.before,
        "after": found.after,
        "examples": found.examples,
    }


def export_model(
    opened: OpenTask, on_step: OnStep, base: str, out: str, format: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """Write the model `base` to `out` as "safetensors" or "onnx"."""
    arrays = tensors.read(opened.layout, Path(base))
    if format == "safetensors":
        export.save_safetensors(Path(out), opened.layout, arrays, metadata)
    elif format == "onnx":
        model = opened.working_model()
        params.load_into(model, opened.layout, arrays)
        pair = defaults.parted(opened.data.own.example().data)
        if pair is None or not isinstance(pair[0], torch.Tensor):
            raise MusterError(
                "task_fault", "the model takes no single tensor: ONNX export is for those that do"
            )
        export.save_onnx(Path(out), model, pair[0], metadata)
    else:
        raise MusterError("usage", f"muster cannot export to {format!r}: use safetensors or onnx")
    return {"size_bytes": Path(out).stat().st_size}


def inspect(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """What the model consists of: [name, shape, dtype, bytes, what becomes of it] of each tensor."""
    rows = [[s.name, list(s.shape), s.dtype, s.size_bytes, "travels"] for s in opened.layout.tensors]
    return {"tensors": rows}
