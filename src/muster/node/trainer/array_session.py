"""Handles the trainer's requests for a task that trains named arrays itself; torch is not imported here.

As task_session.py does for a task with a torch module: plain values in and out, tensors through files.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muster.compression import tensors
from muster.compression.change import difference
from muster.compression.model import decode_update
from muster.compression.tensors import Layout
from muster.errors import MusterError
from muster.learning import export, metrics
from muster.learning import task as tasks
from muster.learning.arrays import array_task, contribution, kept_bytes
from muster.learning.faults import TaskFault
from muster.learning.task import FitRecipe
from muster.learning.travel import start_file
from muster.node.trainer.session_parts import (
    MEASURE_S_MAX,
    Command,
    OnStep,
    command_of,
    contributions_answer,
    fault_of_training,
    weighted_updates,
)

MEASURE_TIMES = 4


@dataclass(frozen=True)
class OpenArrays:
    """A task that is ready to train. `samples`: what one step said this node has; `figures` of the start."""

    task: tasks.Task
    layout: Layout
    samples: int
    figures: array_task.Figures


class ArraySession:
    """Holds an open task that trains named arrays. Raises what the task raises."""

    def __init__(self, task: tasks.Task) -> None:
        self.opened = open_task(task)

    def facts(self) -> dict[str, Any]:
        return describe(self.opened, lambda _: None)

    def do(self, what: str, arguments: dict[str, Any], on_step: OnStep) -> dict[str, Any]:
        """The result of a request."""
        commands: dict[str, Command] = {
            "describe": describe,
            "differs": differs_from,
            "frozen": nothing_frozen,
            "initial": initial,
            "measure_speed": measure_speed,
            "find_rate": find_rate,
            "train": train,
            "evaluate": evaluate,
            "value": value,
            "export": export_arrays,
            "export_serving": not_served,
            "inspect": inspect,
            "take_width": take_width,
            "structure": no_structure,
            "make_samples": shares_nothing,
            "check_samples": uses_none,
        }
        command = command_of(commands, what)
        local, labels = arguments.pop("local", None), arguments.pop("labels_here", None)
        if labels is not None and labels["replay"] is not None:
            raise TaskFault(f"the task {self.opened.task.name!r} trains arrays by itself: it cannot adapt")
        if local is not None:  # the task may have worked for another job since
            self.opened.task.keep(kept_bytes.load(Path(local)))
        result = command(self.opened, on_step, **arguments)
        if local is not None and what == "train":
            kept_bytes.save(Path(local), self.opened.task.kept())
        return result


def open_task(task: tasks.Task) -> OpenArrays:
    """The task after one step and one measurement that are thrown away: its faults show now."""
    if not task.settings.own_data:
        raise TaskFault("a task that trains by fit() takes no samples of others: leave own_data out")
    arrays = array_task.initial(task, 0)
    layout = array_task.layout_of(task, arrays)
    fitted = array_task.fit(task, layout, arrays, FitRecipe(), 1, 0)
    return OpenArrays(task, layout, fitted.examples, array_task.measure(task, fitted.arrays))


def take_width(opened: OpenArrays, on_step: OnStep, width: float) -> dict[str, Any]:
    """Named arrays have the size that the task gives them."""
    if width != 1.0:
        raise MusterError(
            "usage",
            f"the task {opened.task.name!r} trains arrays by itself, which have one width: train it at 1",
        )
    return describe(opened, on_step)


def no_structure(opened: OpenArrays, on_step: OnStep) -> dict[str, Any]:
    return {"groups": []}


def describe(opened: OpenArrays, on_step: OnStep) -> dict[str, Any]:
    """The task's name, fingerprint and layout, and what this node holds of its data."""
    task, figures = opened.task, opened.figures
    common = max((int(count) for _, count in figures.values()), default=0) if task.measures_common else 0
    return {
        "name": task.name,
        "version": task.version,
        "fingerprint": tasks.fingerprint(task.name, task.version, opened.layout),
        "layout": opened.layout.to_plain(),
        "samples": opened.samples,
        "classes": [],
        "metrics": [[m.name, m.best, m.exp] for m in metrics.declared(task, figures)],
        "defaults": dict(task.defaults),
        "steps_max": task.settings.steps_max,
        "common": common,
    }


def differs_from(opened: OpenArrays, on_step: OnStep, fingerprint: bytes) -> dict[str, Any]:
    """Why a job with this fingerprint is not this task's."""
    mine = tasks.fingerprint(opened.task.name, opened.task.version, opened.layout)
    return {"sentence": tasks.other_version(opened.task.name, mine, fingerprint), "in_frozen": False}


def nothing_frozen(opened: OpenArrays, on_step: OnStep, out: str | None) -> dict[str, Any]:
    """All arrays of such a task travel."""
    return {"blob": b"", "size_bytes": 0}


def initial(
    opened: OpenArrays,
    on_step: OnStep,
    seed: int,
    source: str | None,
    out: str,
    fresh: Sequence[str] = (),
    own_out: str | None = None,
) -> dict[str, Any]:
    """Starting arrays, fresh from the seed or from a file, but for those that a pattern of `fresh` fits."""
    arrays, said = array_task.initial(opened.task, seed), ""
    if array_task.layout_of(opened.task, arrays) != opened.layout:
        raise TaskFault("initial() returns other names, shapes or types for another seed")
    if source is not None:
        start = start_file.begin(Path(source), opened.layout, arrays, (), fresh)
        arrays, said = start.arrays, start.said
    return {"size_bytes": tensors.write(opened.layout, Path(out), arrays, synced=True), "said": said}


def measure_speed(opened: OpenArrays, on_step: OnStep, batch: int) -> dict[str, Any]:
    """Median seconds of one step of `batch`, on arrays that are thrown away."""
    arrays, recipe = array_task.initial(opened.task, 0), FitRecipe(batch=batch)
    times_s: list[float] = []
    while len(times_s) < MEASURE_TIMES and sum(times_s) < MEASURE_S_MAX:
        began_s = time.perf_counter()
        array_task.fit(opened.task, opened.layout, arrays, recipe, 1, 0)
        times_s.append(time.perf_counter() - began_s)
        on_step({"done": len(times_s), "of": MEASURE_TIMES})
    return {"step_s": statistics.median(times_s)}


def find_rate(
    opened: OpenArrays, on_step: OnStep, base: str, batch: int, momentum: float, seed: int, seconds: float
) -> dict[str, Any]:
    """None: what `fit` makes of a rate is its own affair, and so is what its losses mean."""
    return {"lr": None, "why": "the task trains by its own fit()"}


def train(
    opened: OpenArrays,
    on_step: OnStep,
    base: str,
    out: str,
    steps: int,
    lr: float,
    batch: int,
    momentum: float,
    seed: int,
    round: int = 1,
    samples: Sequence[tuple[str, float]] = (),
    own_weight: float = 0.0,
    cosine: bool = False,
) -> dict[str, Any]:
    """The task's `fit` from `base`; the difference to it goes to `out`. What its rate does is its own affair.

    Raises TaskFault for `samples`: `fit` chooses its data itself.
    """
    if samples:
        raise TaskFault("the task trains by its own fit(), which takes no samples of other nodes")
    settings = opened.task.settings
    steps = min(steps, settings.steps_max or steps)
    before = tensors.read(opened.layout, Path(base))
    rested_s = 0.0

    def report(done: int) -> None:
        nonlocal rested_s
        began_s = time.perf_counter()
        on_step({"done": max(0, min(int(done), steps)), "of": steps})
        rested_s += time.perf_counter() - began_s  # the throttle's sleep is no part of a step

    recipe = FitRecipe(lr * settings.lr_scale, settings.batch or batch, momentum, round, report)
    began_s = time.perf_counter()
    fitted = array_task.fit(opened.task, opened.layout, before, recipe, steps, seed)
    step_s = (time.perf_counter() - began_s - rested_s) / steps
    on_step({"done": steps, "of": steps, "loss": fitted.loss})
    update = difference(opened.layout, before, fitted.arrays)
    with fault_of_training():
        tensors.write(opened.layout.changes, Path(out), update)
    return {"steps": steps, "examples": fitted.examples, "loss": fitted.loss, "step_s": step_s}


def _has(opened: OpenArrays, which: str) -> bool:
    return (which == "common") == opened.task.measures_common


def evaluate(
    opened: OpenArrays, on_step: OnStep, base: str, which: str, limit: int | None = None
) -> dict[str, Any]:
    """The task's `measure` of `base`. What it measures on is its own choice: `limit` is not heeded."""
    figures: array_task.Figures = {}
    if _has(opened, which):
        figures = array_task.measure(opened.task, tensors.read(opened.layout, Path(base)))
        on_step({"done": 1, "of": 1})
    examples = max((int(count) for _, count in figures.values()), default=0)
    return {
        "examples": examples,
        "figures": metrics.checked(figures, metrics.declared(opened.task, opened.figures)),
    }


def value(
    opened: OpenArrays, on_step: OnStep, before: str, updates: list[list[Any]], which: str, limit: int
) -> dict[str, Any]:
    """What a round's updates, each [weight, message or the path of one], were worth by the task's loss."""
    if not _has(opened, which) or "loss" not in opened.figures:
        return contributions_answer(None)
    found = contribution.contributions(
        opened.task,
        opened.layout,
        tensors.read(opened.layout, Path(before)),
        weighted_updates(updates, lambda message, shape: decode_update(opened.layout, message)),
        lambda: on_step({"done": 0, "of": 1}),
    )
    return contributions_answer(found)


def export_arrays(
    opened: OpenArrays, on_step: OnStep, base: str, out: str, format: str, metadata: dict[str, str]
) -> dict[str, Any]:
    """Write the arrays `base` to `out` as "safetensors"."""
    if format != "safetensors":
        raise MusterError("usage", f"the task {opened.task.name} has no torch module: export to .safetensors")
    arrays = tensors.read(opened.layout, Path(base))
    export.save_safetensors(Path(out), opened.layout, arrays, metadata)
    return {"size_bytes": Path(out).stat().st_size}


def not_served(opened: OpenArrays, on_step: OnStep, **arguments: Any) -> dict[str, Any]:
    raise MusterError(
        "usage",
        f"the task {opened.task.name!r} trains arrays by itself and has no torch module: muster serves "
        "models of tasks with model() alone",
    )


def inspect(opened: OpenArrays, on_step: OnStep) -> dict[str, Any]:
    """What the model consists of: [name, shape, dtype, bytes, what becomes of it] of each tensor."""
    rows = [[s.name, list(s.shape), s.dtype, s.size_bytes, "travels"] for s in opened.layout.tensors]
    return {"tensors": rows}


def shares_nothing(opened: OpenArrays, on_step: OnStep, **wanted: Any) -> dict[str, Any]:
    """Its data is known to the task alone."""
    return {"why": "a task that trains by fit() shows no samples that could be shared"}


def uses_none(opened: OpenArrays, on_step: OnStep, **given: Any) -> dict[str, Any]:
    return {"fault": "a task that trains by fit() cannot train on samples of others"}
