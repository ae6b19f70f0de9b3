"""A trained model as one ONNX file, with names for inputs and outputs, and free axes (`onnx_axes`).

A model that takes one tensor has the input `input`; several are named as the batch's dict or as the
parameters of `forward`.  One output is `output`; those of a dict keep their keys.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from muster.errors import MusterError
from muster.learning.onnx_axes import Axes, free_axes


class _Flat(nn.Module):
    """A model whose inputs are positional and whose outputs are a tuple of tensors."""

    def __init__(self, model: nn.Module, keys: list[str] | None) -> None:
        super().__init__()
        self.model, self._keys = model, keys

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.named(*inputs).values())

    def named(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """The outputs by name, without what is no tensor."""
        if self._keys is None:
            output = self.model(*inputs)
        else:
            output = self.model(**dict(zip(self._keys, inputs, strict=True)))
        if isinstance(output, torch.Tensor):
            return {"output": output}
        if isinstance(output, Mapping):
            pairs = [(str(name), value) for name, value in output.items()]
        elif isinstance(output, tuple | list):
            pairs = [(f"output_{i}", value) for i, value in enumerate(output)]
        else:
            pairs = list(vars(output).items())
        return {name: value for name, value in pairs if isinstance(value, torch.Tensor)}


def save_onnx(path: Path, model: nn.Module, examples: Sequence[Any], metadata: Mapping[str, str]) -> None:
    """`model` in evaluation mode. `examples`: batches of its inputs, each a tensor, a tuple or a dict of
    tensors; an axis whose size differs between them is free.

    Tracing first: for a small model it takes 0.4 s where the newer exporter takes 6 s and onnxscript; that
    one is for what tracing cannot do.  Raises MusterError("task_fault") when neither can.
    """
    import onnx

    model.eval()
    names, inputs, keys = _inputs(model, max(examples, key=_elements))
    others = [found for found in (_inputs(model, e)[:2] for e in examples) if found[0] == names]
    flat = _Flat(model, keys).eval()  # the exporter leaves the model in the mode of what it is given
    try:
        with _quiet(), torch.no_grad():
            outputs = flat.named(*inputs)
            axes = free_axes(
                [dict(zip(names, (tuple(t.shape) for t in given), strict=True)) for _, given in others],
                [{n: tuple(t.shape) for n, t in flat.named(*given).items()} for _, given in others],
            )
            # one that gives a tensor for a tensor is exported as it is: the names of its parameters stay
            plain = keys is None and list(outputs) == ["output"]
            whole = model if plain else flat
            try:
                proto = _traced(whole, inputs, names, list(outputs), axes)
            except Exception:
                proto = _captured(whole, inputs, names, list(outputs), axes, plain=plain)
            onnx.checker.check_model(proto)
    except Exception as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MusterError("task_fault", f"torch cannot export this model to ONNX: {text}") from error
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = str(key), str(value)
    part = path.with_name(path.name + ".part")
    part.write_bytes(proto.SerializeToString())
    os.replace(part, path)


def _inputs(model: nn.Module, example: Any) -> tuple[list[str], tuple[torch.Tensor, ...], list[str] | None]:
    """(names, tensors of at least two samples, the keys if the model takes them by name)."""
    keys = None
    if isinstance(example, Mapping):
        names = keys = [str(key) for key in example]
        given = list(example.values())
    elif isinstance(example, tuple | list):
        given = list(example)
        known = [p.name for p in inspect.signature(model.forward).parameters.values()]
        names = known[: len(given)] if len(known) >= len(given) else [f"input_{i}" for i in range(len(given))]
    else:
        names, given = ["input"], [example]
    if not given or not all(isinstance(value, torch.Tensor) and value.ndim for value in given):
        raise MusterError("task_fault", "the model takes more than tensors: torch cannot export it to ONNX")
    if len(given[0]) < 2:  # a batch of one would be taken for a constant
        given = [value.repeat(2, *([1] * (value.ndim - 1))) for value in given]
    return names, tuple(given), keys


def _elements(example: Any) -> int:
    """How many numbers a batch holds: the largest shows most of what a model does with its inputs."""
    if isinstance(example, Mapping):
        example = list(example.values())
    parts = example if isinstance(example, tuple | list) else [example]
    return sum(part.numel() for part in parts if isinstance(part, torch.Tensor))


def _traced(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: list[str],
    outputs: list[str],
    axes: Axes,
) -> Any:
    import onnx
    import torch.onnx

    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        inputs,
        buffer,  # type: ignore[arg-type]  # the tracing exporter takes a file object
        dynamo=False,
        input_names=names,
        output_names=outputs,
        dynamic_axes=axes,
    )
    return onnx.load_from_string(buffer.getvalue())


def _captured(
    model: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    names: list[str],
    outputs: list[str],
    axes: Axes,
    *,
    plain: bool,
) -> Any:
    import torch.export
    import torch.onnx

    sizes = {axis: torch.export.Dim(axis) for name in names for axis in axes.get(name, {}).values()}
    shapes = tuple({at: sizes[axis] for at, axis in axes.get(name, {}).items()} for name in names)
    program = torch.onnx.export(
        model,
        inputs,
        dynamo=True,
        input_names=names,
        output_names=outputs,
        dynamic_shapes=shapes if plain else (shapes,),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Any:
    """Silences torch.onnx, which prints, warns and logs what is not for our users."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
