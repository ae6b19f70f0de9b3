"""A trained model as the torch module that its task describes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from muster.errors import MusterError
from muster.learning.arrays import array_task
from muster.learning.conversion import array_of
from muster.learning.faults import TaskFault
from muster.learning.params import fresh_model
from muster.learning.slimming.smaller import resized
from muster.learning.slimming.widths import of_own_width, takes_width
from muster.learning.task import Task

EXTRA_STATE = "_extra_state"  # torch's name for what a module saves beside tensors; it stays on the node


def trained_module(task: Task, exported: Path) -> nn.Module:
    """The task's module on the CPU, in evaluation mode, with the tensors of an exported safetensors file.

    Raises MusterError: usage for a task without a module, task_fault, bad_data for what is no such file,
    fingerprint where it is of another model.
    """
    from safetensors import SafetensorError, safe_open

    if array_task.is_array_task(task):
        raise MusterError("usage", f"the task {task.name!r} has no torch module: take the exported tensors")
    try:
        model = fresh_model(task, 0)
        with safe_open(exported, "pt") as file:
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            said = file.metadata() or {}
        width = float(said["width"]) if "muster" in said and "width" in said else 1.0
        if width != 1.0 and takes_width(task):
            model = fresh_model(of_own_width(task, width), 0)
        if width != 1.0:
            model = _of_size(model, found)
    except TaskFault as error:
        raise MusterError("task_fault", str(error)) from error
    except (OSError, SafetensorError) as error:
        why = f"{exported} is not a readable safetensors file: {' '.join(str(error).split())[:200]}"
        raise MusterError("bad_data", why) from error
    try:
        odd = model.load_state_dict(found, strict=False)
    except RuntimeError as error:
        raise _unfit(task, (str(error).splitlines() or [""])[-1].strip()) from error
    missing = [name for name in odd.missing_keys if name.rpartition(".")[2] != EXTRA_STATE]
    if missing or odd.unexpected_keys:
        names = [f"it lacks {missing[0]!r}"] if missing else []
        names += [f"{odd.unexpected_keys[0]!r} is not known here"] if odd.unexpected_keys else []
        raise _unfit(task, ", ".join(names))
    return model.eval()


def _of_size(model: nn.Module, found: dict[str, torch.Tensor]) -> nn.Module:
    """`model` with as many channels as the tensors have; what differs otherwise is left as it is."""
    state = model.state_dict()
    other = {
        name: array_of(tensor)
        for name, tensor in found.items()
        if name in state and state[name].ndim == tensor.ndim and state[name].shape != tensor.shape
    }
    return resized(model, other)


def _unfit(task: Task, why: str) -> MusterError:
    return MusterError("fingerprint", f"the model does not fit the task {task.name!r} as it is here: {why}")
