"""Handles the trainer's requests with torch: plain values in and out, tensors through files.

Each request is a function of the open task, a progress callback and the request's own arguments.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from muster.compression import tensors
from muster.errors import MusterError
from muster.learning import (
    contribution,
    evaluation,
    export,
    local_training,
    metrics,
    range_test,
)
from muster.learning import task as tasks
from muster.learning.onnx_export import save_onnx
from muster.learning.sources.arrays import ArraySource
from muster.learning.travel.fingerprint import differs, differs_in_fixed
from muster.learning.travel.fingerprint import fingerprint as task_fingerprint
from muster.learning.travel.kinds import TRAINED, kept_here
from muster.node.trainer import first_models
from muster.node.trainer.fine_tuning import fine_tune
from muster.node.trainer.labels_here import LabelsHere, count_labels
from muster.node.trainer.open_task import OpenTask, open_task
from muster.node.trainer.serving import export_serving
from muster.node.trainer.session_parts import (
    MEASURE_S_MAX,
    Command,
    OnStep,
    command_of,
    contributions_answer,
    weighted_updates,
)
from muster.node.trainer.shared_samples import check_samples, make_samples
from muster.node.trainer.training import train

MEASURE_STEPS = 8
STREAM_SAMPLES = 10_000  # what a source whose size is not known counts as
LABELS_MAX = 1000  # more different ones are no classes


class TaskSession:
    """Holds an open task that has a torch module. Raises what the task raises."""

    def __init__(self, task: tasks.Task) -> None:
        self.opened = open_task(task)
        self._labels = LabelsHere()
        self._pruned: OpenTask | None = None  # with the model of the last request, where that was pruned

    def facts(self) -> dict[str, Any]:
        return describe(self.opened, lambda _: None)

    def do(self, what: str, arguments: dict[str, Any], on_step: OnStep) -> dict[str, Any]:
        """The result of a request."""
        commands: dict[str, Command] = {
            "describe": describe,
            "differs": differs_from,
            "frozen": first_models.frozen,
            "initial": first_models.initial,
            "narrow": first_models.narrow,
            "structure": structure,
            "measure_speed": measure_speed,
            "find_rate": find_rate,
            "count_labels": count_labels,
            "train": train,
            "fine_tune": fine_tune,
            "evaluate": evaluate,
            "value": value,
            "export": export_model,
            "export_serving": export_serving,
            "inspect": inspect,
            "make_samples": make_samples,
            "check_samples": check_samples,
        }
        if what.startswith("take_"):
            self._pruned = None
        if what == "take_frozen":
            self.opened = self.opened.with_fixed(Path(arguments["path"]), arguments["fingerprint"])
            return {}
        if what == "take_width":
            self.opened = self.opened.at_width(float(arguments["width"]))
            return self.facts()
        command = command_of(commands, what)
        local, labels = arguments.pop("local", None), arguments.pop("labels_here", None)
        batch = arguments.get("batch", self.opened.batch)
        self.opened = replace(self.opened, local=None if local is None else Path(local), batch=batch)
        opened = self._of_shape(arguments.pop("shape", b""))
        if labels is not None:
            opened = self._labels.in_job(opened, labels)
        return command(opened, on_step, **arguments)

    def _of_shape(self, shape: bytes) -> OpenTask:
        """The task with the model that a request is about."""
        if not shape:
            return self.opened
        if self._pruned is None or self._pruned.shape != shape:
            self._pruned = self.opened.of_shape(shape)
        self._pruned = replace(self._pruned, local=self.opened.local, batch=self.opened.batch)
        return self._pruned


def describe(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """The task's name, fingerprint and layout, and what this node holds of its data."""
    own, common = opened.data.own, opened.data.common
    borrowed = opened.data.borrowed
    labels = own.labels if isinstance(own, ArraySource) and not borrowed else None
    classes: list[list[int]] = []
    if labels is not None:
        values, counts = torch.unique(torch.from_numpy(labels), return_counts=True)
        if len(values) <= LABELS_MAX:
            classes = [[int(v), int(c)] for v, c in zip(values, counts, strict=True)]
    return {
        "name": opened.task.name,
        "version": opened.task.version,
        "fingerprint": task_fingerprint(opened.task.name, opened.task.version, _whole(opened).travelling),
        "layout": opened.layout.to_plain(),
        "samples": 0 if borrowed else STREAM_SAMPLES if own.size is None else own.size,
        "classes": classes,
        "metrics": [[m.name, m.best, m.exp] for m in opened.metrics],
        "skipped": opened.data.skipped,
        "steps_max": opened.task.settings.steps_max,
        "defaults": dict(opened.task.defaults),
        "common": 0 if common is None else STREAM_SAMPLES if common.size is None else common.size,
    }


def differs_from(opened: OpenTask, on_step: OnStep, fingerprint: bytes) -> dict[str, Any]:
    """Why a job with this fingerprint is not this task's, and whether its frozen part would make it so."""
    task, travelling = opened.task, _whole(opened).travelling
    mine = task_fingerprint(task.name, task.version, travelling)
    return {
        "sentence": differs(task.name, task.version, travelling, fingerprint),
        "in_frozen": differs_in_fixed(mine, fingerprint),
    }


def _whole(opened: OpenTask) -> OpenTask:
    """The task at width 1, whose fingerprint counts whatever width a job has."""
    return opened.whole or opened


def structure(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """The groups of channels of the model as it is now."""
    return {"groups": opened.structure().to_plain()}


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


def find_rate(
    opened: OpenTask, on_step: OnStep, base: str, batch: int, momentum: float, seed: int, seconds: float
) -> dict[str, Any]:
    """The learning rate that short trainings from `base` on this node's data speak for; None: it has none."""
    if opened.data.borrowed:
        return {"lr": None, "why": "this node has no data of its own to try rates on"}
    arrays, began_s = tensors.read(opened.layout, Path(base)), time.perf_counter()
    found = range_test.find_rate(
        opened.task, lambda: opened.loaded(arrays), opened.data.own,
        batch=batch, momentum=momentum, seed=seed, seconds=seconds,
        on_step=lambda n: on_step({"done": n, "of": range_test.STEPS_MAX}),
    )  # fmt: skip
    return {**asdict(found), "seconds": time.perf_counter() - began_s}


def evaluate(
    opened: OpenTask, on_step: OnStep, base: str, which: str, limit: int | None = None
) -> dict[str, Any]:
    """`base` on the common evaluation set, or (own) on what this node holds out; the first `limit` of it."""
    data = opened.held_out(which)
    if data is None:
        return {"examples": 0, "figures": {}}
    model = opened.loaded(tensors.read(opened.layout, Path(base)))
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
    figures = metrics.checked(found.figures, opened.metrics)
    return {"examples": found.examples, "figures": figures, "skipped": found.skipped}


def value(
    opened: OpenTask, on_step: OnStep, before: str, updates: list[list[Any]], which: str, limit: int
) -> dict[str, Any]:
    """What a round's updates, as `session_parts.weighted_updates` has them, were worth on held-out data."""
    data = opened.held_out(which)
    if data is None:
        return contributions_answer(None)
    start = tensors.read(opened.layout, Path(before))
    found = contribution.contributions(
        opened.task,
        opened.loaded(start),
        opened.layout,
        start,
        weighted_updates(updates, lambda message, shape: opened.change(message, shape, start)),
        data.sample(limit),
        lambda: on_step({"done": 0, "of": 1}),
        opened.batch,
    )
    return contributions_answer(found)


def export_model(
    opened: OpenTask, on_step: OnStep, base: str, out: str, format: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """Write the model `base` to `out` as "safetensors" or "onnx"."""
    arrays = tensors.read(opened.layout, Path(base))
    model, metadata = opened.loaded(arrays), {**metadata, **opened.notes()}
    if format == "safetensors":
        others = kept_here(model, opened.travelling)
        export.save_safetensors(Path(out), opened.layout, arrays, metadata, others)
    elif format == "onnx":
        save_onnx(Path(out), model, opened.model_inputs(), metadata)
    else:
        raise MusterError("usage", f"muster cannot export to {format!r}: use safetensors or onnx")
    return {"size_bytes": Path(out).stat().st_size}


def inspect(opened: OpenTask, on_step: OnStep) -> dict[str, Any]:
    """What the model consists of: [name, shape, dtype, bytes, what becomes of it] of each tensor."""
    rows = [
        [t.name, list(t.shape), t.dtype, t.size_bytes, "travels" if t.kind == TRAINED else t.kind]
        for t in opened.travelling.tensors
        if not t.tied_to
    ]
    return {"tensors": rows}
