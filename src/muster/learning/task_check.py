"""`muster task check`: does a task train, how fast, how large, and what is wrong with it.

Faults are collected rather than raised; each is one sentence that a task's author can act on.  Time and
memory are measured by functions that the caller passes in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from muster.compression.tensors import Layout, TensorError
from muster.learning import local_training, metrics, params
from muster.learning.data import Data, TaskFault, as_data
from muster.learning.evaluation import Evaluation, evaluate
from muster.learning.params import fresh_model
from muster.learning.task import Task, fingerprint

STEPS = 5
BATCH = 32


@dataclass(frozen=True)
class TaskReport:
    """`step_s`: seconds a step of 32; bytes are those of the dense model and of the process's peak."""

    name: str
    version: str
    fingerprint: str
    parameters: int
    model_bytes: int
    samples: int
    evaluation_samples: int
    step_s: float
    memory_bytes: int
    loss: float
    accuracy: float
    faults: tuple[str, ...]

    @property
    def good(self) -> bool:
        return not self.faults


def check(task: Task, clock: Callable[[], float], memory: Callable[[], int], lr: float = 0.01) -> TaskReport:
    """Try `task` for a few steps. What the task's own code raises passes through, with its line."""
    faults: list[str] = []
    model = fresh_model(task, 0)
    if not isinstance(model, nn.Module):
        raise TaskFault(f"model() must return a torch.nn.Module, not {type(model).__name__}")
    try:
        layout = params.layout_of(model)
    except TensorError as error:
        raise TaskFault(f"the model cannot be sent: {error}") from error
    data = as_data(task.training_data(), "training_data")
    if len(data) == 0:
        raise TaskFault("training_data() returned no samples")
    pair = task.evaluation_data()
    held_out = None if pair is None else as_data(pair, "evaluation_data")
    if held_out is not None and len(held_out) == 0:
        faults.append("evaluation_data() returned no samples: return None to have 10 % held out")
        held_out = None
    faults += _data_faults(data, "training_data")
    faults += [] if held_out is None else _data_faults(held_out, "evaluation_data")
    faults += _model_faults(task, model, layout, data)
    loss, step_s, measured = math.nan, math.nan, Evaluation(0, {})
    if not faults:
        loss, step_s, more = _steps(task, layout, data, clock, lr)
        faults += more
    if not faults:
        some = (held_out or data).at(range(min(500, len(held_out or data))))
        measured, more = _evaluation(task, model, some)
        faults += more
    return TaskReport(
        name=task.name,
        version=task.version,
        fingerprint=fingerprint(task.name, task.version, layout).hex(),
        parameters=layout.parameters,
        model_bytes=layout.blob_bytes,
        samples=len(data),
        evaluation_samples=0 if held_out is None else len(held_out),
        step_s=step_s,
        memory_bytes=memory(),
        loss=loss,
        accuracy=measured.accuracy,
        faults=tuple(faults),
    )


def _data_faults(data: Data, what: str) -> list[str]:
    faults: list[str] = []
    for name, tensor in (("x", data.x), ("y", data.y)):
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            faults.append(f"{what}() returned values in {name} that are not finite")
    if data.x.dtype == torch.float64:
        faults.append(f"{what}() returned x in float64: torch models take float32, use .astype(np.float32)")
    if data.x.dtype == torch.uint8:
        faults.append(f"{what}() returned x in uint8: scale it to float32, such as x / 255")
    return faults


def _model_faults(task: Task, model: nn.Module, layout: Layout, data: Data) -> list[str]:
    faults: list[str] = []
    if layout.parameters == 0:
        return ["model() has no parameters"]
    again = fresh_model(task, 0)
    if params.layout_of(again) != layout:
        return ["model() gives other names, shapes or dtypes each time it is called"]
    one, two = params.arrays_of(model, layout), params.arrays_of(again, layout)
    if any(one[n].tobytes() != two[n].tobytes() for n in one):
        faults.append("model() differs between two calls with one seed: draw its numbers from torch only")
    for name, array in one.items():
        if layout.by_name[name].floating and not math.isfinite(float(abs(array).sum())):
            faults.append(f"model() starts with values in {name} that are not finite")
    model.eval()
    with torch.inference_mode():
        output = model(data.x[:2])
    if not isinstance(output, torch.Tensor) or len(output) != len(data.x[:2]):
        return [*faults, "the model must return one tensor with a row for each sample"]
    if output.ndim == 2 and data.y.ndim == 1 and not data.y.dtype.is_floating_point and output.shape[1] > 1:
        low, high = int(data.y.min()), int(data.y.max())
        if low < 0 or high >= output.shape[1]:
            faults.append(
                f"labels go from {low} to {high}, the model has {output.shape[1]} outputs:"
                f" they must be 0 to {output.shape[1] - 1}"
            )
        if data.y.dtype != torch.int64:
            faults.append(f"labels are {data.y.dtype}: torch's losses take int64, use .astype(np.int64)")
    return faults


def _steps(
    task: Task, layout: Layout, data: Data, clock: Callable[[], float], lr: float
) -> tuple[float, float, list[str]]:
    """(mean loss, seconds a step, faults) of a few steps, done twice to see whether they repeat."""
    faults: list[str] = []
    results: list[dict[str, bytes]] = []
    loss = step_s = math.nan
    for _ in range(2):
        model = fresh_model(task, 0)
        before = params.arrays_of(model, layout)
        work = local_training.init(task, model, data, lr=lr, batch=BATCH, momentum=0.0, seed=0)
        try:
            local_training.step(work)
            begun_s = clock()
            for _ in range(STEPS):
                local_training.step(work)
        except TaskFault as error:
            return loss, step_s, [str(error)]
        step_s = (clock() - begun_s) / STEPS
        loss = local_training.final(work).loss
        if params.layout_of(model) != layout:
            return loss, step_s, ["a parameter changed its name, shape or dtype while training"]
        after = params.arrays_of(model, layout)
        weights = {name for name, _ in model.named_parameters()} & set(after)  # statistics move anyway
        if all(after[n].tobytes() == before[n].tobytes() for n in weights):
            faults.append("training changed no parameter: does loss() depend on the model's output?")
        results.append({n: array.tobytes() for n, array in after.items()})
    if results[0] != results[1]:
        faults.append("training with one seed gave two results: draw random numbers from torch only")
    return loss, step_s, faults


def _evaluation(task: Task, model: nn.Module, data: Data) -> tuple[Evaluation, list[str]]:
    measured = evaluate(task, model, data)
    faults: list[str] = []
    try:
        metrics.checked(measured.figures, metrics.declared(task))
    except TaskFault as error:
        faults.append(str(error))
    return measured, faults
