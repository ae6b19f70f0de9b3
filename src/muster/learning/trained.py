"""A trained model as the torch module that its task describes."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from muster.errors import MusterError
from muster.learning import array_task
from muster.learning.params import fresh_model
from muster.learning.task import Task


def trained_module(task: Task, exported: Path) -> nn.Module:
    """The task's module on the CPU, in evaluation mode, with the tensors of an exported safetensors file.

    Raises MusterError: usage for a task without a module, fingerprint where the file is of another model.
    """
    from safetensors.torch import load_file

    if array_task.is_array_task(task):
        raise MusterError("usage", f"the task {task.name!r} has no torch module: take the exported tensors")
    model = fresh_model(task, 0)
    try:
        model.load_state_dict(load_file(exported))
    except RuntimeError as error:
        line = (str(error).splitlines() or [""])[-1].strip()
        raise MusterError(
            "fingerprint",
            f"the model does not fit the task {task.name!r} as it is here: {line}",
        ) from error
    return model.eval()
