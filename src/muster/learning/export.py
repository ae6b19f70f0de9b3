"""A trained model as files for others: safetensors (all tensors, plus metadata) and ONNX (dynamic batch)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from muster.compression.tensors import Layout, expand
from muster.errors import MusterError
from muster.learning.travel import start_file

if TYPE_CHECKING:  # a task without torch exports, too
    import torch
    from torch import nn


def save_safetensors(
    path: Path,
    layout: Layout,
    arrays: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    others: Mapping[str, NDArray[Any]] | None = None,
) -> None:
    """Every name of the state_dict, tied ones too, so that plain torch loads it with strict=True.

    `others`: the model's tensors that do not travel.
    """
    part = path.with_name(path.name + ".part")
    whole = {**(others or {}), **expand(layout, arrays)}
    full = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in whole.items()}
    save_file(full, part, metadata={str(k): str(v) for k, v in metadata.items()})
    os.replace(part, path)


def load_safetensors(path: Path, layout: Layout, others: Iterable[str] = ()) -> dict[str, NDArray[Any]]:
    """All parameters in a safetensors file, in `layout`; see travel/start_file.py. Raises MusterError."""
    return start_file.begin(path, layout, {}, others).arrays


def metadata_of(path: Path) -> dict[str, str]:
    """The metadata in a safetensors file."""
    with safe_open(path, framework="numpy") as file:
        return dict(file.metadata() or {})


def save_onnx(path: Path, model: nn.Module, example: torch.Tensor, metadata: Mapping[str, str]) -> None:
    """`model` in evaluation mode, one file, `input` (batch x ...) to `output`, with a free batch size.

    Tracing first: for a small model it takes 0.4 s where the newer exporter takes 6 s and onnxscript; that
    one is for what tracing cannot do.  Raises MusterError("task_fault") when neither can.
    """
    import onnx

    model.eval()
    if len(example) < 2:  # a batch of one would be taken for a constant
        example = example.repeat(2, *([1] * (example.ndim - 1)))
    try:
        with _quiet():
            try:
                proto = _traced(model, example)
            except Exception:
                proto = _captured(model, example)
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


def _traced(model: nn.Module, example: torch.Tensor) -> Any:
    import onnx
    import torch.onnx

    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        (example,),
        buffer,  # type: ignore[arg-type]  # the tracing exporter takes a file object
        dynamo=False,
        input_names=["input"],
        output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )
    return onnx.load_from_string(buffer.getvalue())


def _captured(model: nn.Module, example: torch.Tensor) -> Any:
    import torch.export
    import torch.onnx

    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        input_names=["input"],
        output_names=["output"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
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


def metadata(
    task: str, version: str, fingerprint: bytes, commit: str, accuracy: float | None
) -> dict[str, str]:
    """The metadata of an exported model."""
    return {
        "task": task,
        "version": version,
        "fingerprint": fingerprint.hex(),
        "commit": commit,
        "accuracy": json.dumps(accuracy),
    }
