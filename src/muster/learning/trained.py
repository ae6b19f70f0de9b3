"""A trained model as the torch module that its task describes."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from muster.errors import MusterError
from muster.learning.arrays import array_task
from muster.learning.faults import TaskFault
from muster.learning.params import fresh_model
from muster.learning.task import Task

EXTRA_STATE = "_extra_state"  # torch's name for what a module saves beside tensors; it stays on the node


def trained_module(task: Task, exported: Path) -> nn.Module:
    """The task's module on the CPU, in evaluation mode, with the tensors of an exported safetensors file.

    Raises MusterError: usage for a task without a module, task_fault, fingerprint where the file is of
    another model.
    """
    from safetensors.torch import load_file

    if array_task.is_array_task(task):
        raise MusterError("usage", f"the task {task.name!r} has no torch module: take the exported tensors")
    try:
        model = fresh_model(task, 0)
    except TaskFault as error:
        raise MusterError("task_fault", str(error)) from error
    try:
        odd = model.load_state_dict(load_file(exported), strict=False)
    except RuntimeError as error:
        raise _unfit(task, (str(error).splitlines() or [""])[-1].strip()) from error
    missing = [name for name in odd.missing_keys if name.rpartition(".")[2] != EXTRA_STATE]
    if missing or odd.unexpected_keys:
        names = [f"it lacks {missing[0]!r}"] if missing else []
        names += [f"{odd.unexpected_keys[0]!r} is not known here"] if odd.unexpected_keys else []
        raise _unfit(task, ", ".join(names))
    return model.eval()


def _unfit(task: Task, why: str) -> MusterError:
    return MusterError("fingerprint", f"the model does not fit the task {task.name!r} as it is here: {why}")
