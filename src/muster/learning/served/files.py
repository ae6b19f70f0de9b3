"""Writes the two ONNX files of a served model, and tries them.

MODEL.onnx          input `input`: raw samples (n, ...); outputs `output`, of classifiers `confidence` and
`entropy` SKETCH.onnx         input `input`: the same; output `sketch`, (n, k) float32; metadata: the
reference

Metadata of both: what the caller gives (task, version, commit, accuracy), `sample` (dtype and shape of one,
-1 for a free axis), and of classifiers `classes` (the names of all outputs).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from muster.adaptation import likeness
from muster.errors import MusterError
from muster.learning.faults import TaskFault
from muster.learning.hooks import targets
from muster.learning.onnx_export import save_onnx
from muster.learning.raw_samples import RawSample, declared_raw, label_names
from muster.learning.served.features import Features
from muster.learning.served.modules import (
    BINARY,
    CLASSES,
    OTHER,
    Served,
    Sketching,
    are_probabilities,
    kind_of,
)
from muster.learning.sources.source import Source
from muster.learning.task import Task

REFERENCE_SAMPLES = 1000
REFERENCE_BATCH = 100
TRIED = 3  # samples that both torch and the file are asked about
TOLERANCE = 1e-3


@dataclass(frozen=True)
class ServedFacts:
    """What was written: what one raw sample is, and how many classes there are (0: it is no classifier)."""

    sample: RawSample
    classes: int


def save_served(
    out: Path,
    sketch_out: Path,
    model: nn.Module,
    task: Task,
    data: Source,
    examples: Sequence[Any],
    metadata: Mapping[str, str],
) -> ServedFacts:
    """Write `model` and its sketch. `data`: that the reference is taken of; `examples`: batches of what the
    model takes.

    Raises MusterError task_fault, in one sentence, for a model or a `prepare` that cannot be served.
    """
    try:
        example = data.example(REFERENCE_BATCH)
        x, y = one_tensor(task, example.data)
        raw = raw_examples(task, x, examples)
        model.eval()
        with torch.no_grad():
            _check(task, model, raw[0], x)
            output = targets.output_tensor(model(x))
        kind = kind_of(output, y, task.target_facts)
        names = _names(task, kind, output)
    except TaskFault as error:
        raise MusterError("task_fault", str(error)) from error
    sample = _sample(raw)
    said = {**metadata, "sample": json.dumps({"dtype": sample.dtype, "shape": sample.shape})}
    said |= {"classes": json.dumps(names)} if names else {}
    probabilities = kind == CLASSES and are_probabilities(output)
    _save(out, Served(model, task.prepare, kind, probabilities=probabilities), raw, said, task)
    features = Features(model, x)
    reference = likeness.reference_metadata(_reference(features, data))
    _save(sketch_out, Sketching(features, task.prepare), raw, said | reference, task)
    return ServedFacts(sample, len(names))


def one_tensor(task: Task, batch: Any) -> tuple[torch.Tensor, Any]:
    """(x, y) of a batch. Raises TaskFault for a task whose model takes more than one tensor."""
    x = y = None
    if isinstance(batch, tuple | list) and len(batch) == 2:
        x, y = batch
    elif isinstance(batch, Mapping):
        x, y = batch.get("x"), batch.get("y")
    if not isinstance(x, torch.Tensor):
        raise TaskFault(
            f"the task {task.name!r} cannot be served: a served model takes one tensor, so "
            "training_data() must return (x, y) with an x that is one array"
        )
    return x, y


def raw_examples(task: Task, x: torch.Tensor, examples: Sequence[Any]) -> list[torch.Tensor]:
    """Batches of raw samples, as the declaration says, or what the model takes. Raises TaskFault."""
    declared = declared_raw(task)
    if declared is None:
        batches = [one for one in examples if isinstance(one, torch.Tensor)] or [x]
        return [_at_least(one, TRIED) for one in batches]
    rng, shape = np.random.default_rng(0), (TRIED, *declared.shape)
    if declared.dtype.startswith("float"):
        return [torch.from_numpy(rng.normal(size=shape).astype(declared.dtype))]
    # bytes are pixels; other integers may be places in a table, which 0 and 1 always are
    drawn = rng.integers(0, 256 if declared.dtype == "uint8" else 2, shape)
    return [torch.from_numpy(drawn.astype(declared.dtype))]


def _at_least(x: torch.Tensor, count: int) -> torch.Tensor:
    return x.repeat(-(-count // len(x)), *([1] * (x.ndim - 1)))[:count] if len(x) < count else x


def _check(task: Task, model: nn.Module, raw: torch.Tensor, x: torch.Tensor) -> None:
    """Raises TaskFault where raw samples do not become what the model takes."""
    what = f"prepare() of the task {task.name!r}"
    try:
        prepared = task.prepare(raw)
    except Exception as error:
        raise TaskFault(f"{what} fails for {_described(raw)}: {_line(error)}") from error
    if not isinstance(prepared, torch.Tensor) or prepared.ndim == 0 or len(prepared) != len(raw):
        raise TaskFault(f"{what} must return one tensor with as many samples as it gets")
    if (prepared.dtype, prepared.ndim) != (x.dtype, x.ndim):
        raise TaskFault(f"{what} makes {_described(prepared)}, and training_data() has {_described(x)}")
    try:
        model(prepared)
    except Exception as error:
        raise TaskFault(f"the model does not take what {what} makes: {_line(error)}") from error


def _described(x: torch.Tensor) -> str:
    return f"samples of {_short(x.dtype)} and shape {tuple(x.shape[1:])}"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _names(task: Task, kind: str, output: torch.Tensor) -> list[str]:
    """Of all classes; a task need not name any. Raises TaskFault."""
    given = label_names(task) if kind != OTHER else {}
    count = 0 if kind == OTHER else 2 if kind == BINARY else output.shape[1]
    return [given.get(label, str(label)) for label in range(count)]


def _sample(raw: Sequence[torch.Tensor]) -> RawSample:
    shapes = [one.shape[1:] for one in raw]
    free = [len({shape[axis] for shape in shapes}) > 1 for axis in range(len(shapes[0]))]
    sizes = tuple(-1 if varies else int(size) for varies, size in zip(free, shapes[0], strict=True))
    return RawSample(_short(raw[0].dtype), sizes)


@torch.no_grad()
def _reference(features: Features, data: Source) -> likeness.Reference:
    """Over up to 1,000 samples, evenly from all."""
    try:
        parts = [
            features(batch.data[0] if isinstance(batch.data, tuple | list) else batch.data["x"]).numpy()
            for batch in data.sample(REFERENCE_SAMPLES).once(REFERENCE_BATCH, REFERENCE_SAMPLES)
        ]
        return likeness.Reference.of(np.concatenate(parts))
    except ValueError as error:
        raise MusterError("task_fault", f"the task's data give no reference: {error}") from error


def _save(
    path: Path, module: nn.Module, raw: Sequence[torch.Tensor], metadata: Mapping[str, str], task: Task
) -> None:
    """Write the file and ask it the same as torch.

    Raises MusterError where it answers otherwise, as it does when `prepare` leaves torch: what numpy
    computes becomes a constant.  Without onnxruntime, which serving needs, this is not tried.
    """
    save_onnx(path, module, raw, metadata)
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for given in (raw[-1], raw[0].flip(0), raw[0][:1]):
        with torch.no_grad():
            mine = {name: tensor.numpy() for name, tensor in module(given).items()}
        try:
            found = session.run(list(mine), {"input": given.numpy()})
            same = all(map(_near, found, mine.values()))
        except Exception:  # such as of a graph that does without its input
            same = False
        if not same:
            raise MusterError(
                "task_fault",
                f"the task {task.name!r} cannot be served: its ONNX file answers otherwise than the model; "
                "prepare() and forward() must consist of torch operations alone",
            )


def _near(his: NDArray[Any], mine: NDArray[Any]) -> bool:
    return his.shape == mine.shape and np.allclose(his, mine, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
