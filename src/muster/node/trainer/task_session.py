"""Handles the trainer's requests with torch: plain values in and out, tensors through files.

Each request is a function of the open task, a progress callback and the request's own arguments.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from muster.algorithms import splits
from muster.algorithms.contribution import WeightedUpdate
from muster.compression import tensors
from muster.compression.change import difference
from muster.compression.model import decode_update
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.learning import contribution, evaluation, export, local_training, metrics, params
from muster.learning import task as tasks
from muster.learning.data import Data, TaskFault, as_data
from muster.learning.params import fresh_model

HOLDOUT_SHARE = 0.1
TRIED_BATCH = 32
MEASURE_STEPS = 8
MEASURE_S_MAX = 3.0

OnStep = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class OpenTask:
    """A task that is ready to train. Each request overwrites the model."""

    task: tasks.Task
    model: nn.Module
    layout: Layout
    own: Data
    held_out: Data
    common: Data | None


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
        return command(self.opened, on_step, **arguments)


def open_task(task: tasks.Task) -> OpenTask:
    """The task with its data. Without a common evaluation set, 10 % of the own data is held out."""
    model = fresh_model(task, 0)
    if not isinstance(model, nn.Module):
        raise TaskFault(f"model() must return a torch.nn.Module, not {type(model).__name__}")
    data = as_data(task.training_data(), "training_data")
    if len(data) == 0:
        raise TaskFault("training_data() returned no samples")
    pair = task.evaluation_data()
    common = None if pair is None else as_data(pair, "evaluation_data")
    own, held_out = data, data.at([])
    if common is None:
        whole = not data.y.dtype.is_floating_point and data.y.ndim == 1
        labels = data.y.numpy() if whole else np.zeros(len(data))
        kept, out = splits.holdout(labels, HOLDOUT_SHARE, task.seed)
        own, held_out = data.at(kept), data.at(out)
    return OpenTask(task, model, params.layout_of(model), own, held_out, common)


def describe(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """The task's name, fingerprint and layout, and what this node holds of its data."""
    labels = opened.own.y
    whole = not labels.dtype.is_floating_point and labels.ndim == 1
    values, counts = torch.unique(labels, return_counts=True) if whole else (labels[:0], labels[:0])
    many = len(values) > 1000  # then these are no classes
    return {
        "name": opened.task.name,
        "version": opened.task.version,
        "fingerprint": tasks.fingerprint(opened.task.name, opened.task.version, opened.layout),
        "layout": opened.layout.to_plain(),
        "samples": len(opened.own),
        "classes": [] if many else [[int(v), int(c)] for v, c in zip(values, counts, strict=True)],
        "metrics": [[m.name, m.best, m.exp] for m in metrics.declared(opened.task)],
        "defaults": dict(opened.task.defaults),
        "common": 0 if opened.common is None else len(opened.common),
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
        opened.task, opened.model, opened.own, lr=0.0, batch=batch, momentum=0.0, seed=0
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
) -> dict[str, Any]:
    """At least one step from `base`; the difference to it goes to `out`."""
    before = tensors.read(opened.layout, Path(base))
    params.load_into(opened.model, opened.layout, before)
    times_s: list[float] = []
    began_s = time.perf_counter()

    def stepped(n: int, loss: float) -> None:
        nonlocal began_s
        times_s.append(time.perf_counter() - began_s)
        on_step({"done": n, "of": steps, "loss": loss})
        began_s = time.perf_counter()  # the report and the throttle's sleep are no part of a step

    done = local_training.train(
        opened.task,
        opened.model,
        opened.own,
        steps=steps,
        lr=lr,
        batch=batch,
        momentum=momentum,
        seed=seed,
        on_step=stepped,
    )
    after = params.arrays_of(opened.model, opened.layout)
    try:
        tensors.check(opened.layout, after)
        update = difference(opened.layout, before, after)
        tensors.write(opened.layout.changes, Path(out), update)
    except tensors.TensorError as error:
        raise TaskFault(f"training ended in nonsense: {error}; try a lower learning rate") from error
    step_s = statistics.median(times_s)
    return {"steps": done.steps, "examples": done.examples, "loss": done.loss, "step_s": step_s}


def evaluate(
    opened: OpenTask, on_step: OnStep, base: str, which: str, limit: int | None = None
) -> dict[str, Any]:
    """`base` on the common evaluation set, or (own) on what this node holds out; the first `limit` of it."""
    data = opened.common if which == "common" else opened.held_out
    if data is None or len(data) == 0:
        return {"examples": 0, "figures": {}}
    params.load_into(opened.model, opened.layout, tensors.read(opened.layout, Path(base)))
    data = data if limit is None else Data(data.x[:limit], data.y[:limit])
    of = len(data)
    found = evaluation.evaluate(opened.task, opened.model, data, lambda n: on_step({"done": n, "of": of}))
    figures = metrics.checked(found.figures, metrics.declared(opened.task))
    return {"examples": found.examples, "figures": figures}


def value(
    opened: OpenTask, on_step: OnStep, before: str, updates: list[list[Any]], which: str, limit: int
) -> dict[str, Any]:
    """What a round's updates, each [weight, message or the path of one], were worth on held-out data."""
    data = opened.common if which == "common" else opened.held_out
    if data is None or len(data) == 0:
        return {"values": [], "before": 0.0, "after": 0.0, "examples": 0}

    def part(weight: float, source: bytes | str) -> WeightedUpdate:
        def read() -> dict[str, Any]:
            message = source if isinstance(source, bytes) else Path(source).read_bytes()
            return decode_update(opened.layout, message)

        return WeightedUpdate(weight, read)

    found = contribution.contributions(
        opened.task,
        opened.model,
        opened.layout,
        tensors.read(opened.layout, Path(before)),
        [part(weight, source) for weight, source in updates],
        contribution.sample(data, limit),
        lambda: on_step({"done": 0, "of": 1}),
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
        params.load_into(opened.model, opened.layout, arrays)
        export.save_onnx(Path(out), opened.model, opened.own.x[:2], metadata)
    else:
        raise MusterError("usage", f"muster cannot export to {format!r}: use safetensors or onnx")
    return {"size_bytes": Path(out).stat().st_size}


def inspect(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """What the model consists of: [name, shape, dtype, bytes, what becomes of it] of each tensor."""
    rows = [[s.name, list(s.shape), s.dtype, s.size_bytes, "travels"] for s in opened.layout.tensors]
    return {"tensors": rows}
