"""Made-up updates to try codecs on: heavy-tailed, each tensor in its own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from muster.compression import safetensors_file
from muster.compression.tensors import Array, Layout, TensorError, TensorSpec
from muster.errors import MusterError

# The task mnist's cnn29k (learning.mnist), so that torch need not be loaded to look at codecs.
_CNN29K = (
    ("0.weight", (16, 1, 5, 5)), ("0.bias", (16,)), ("3.weight", (32, 16, 5, 5)), ("3.bias", (32,)),
    ("7.weight", (10, 1568)), ("7.bias", (10,)),
)  # fmt: skip
_STEP = 0.01  # an update's size beside its tensor's


def mnist_update() -> tuple[Layout, dict[str, Array]]:
    """The layout of mnist's cnn29k and an update for it."""
    specs = tuple(TensorSpec(name, shape, "float32") for name, shape in _CNN29K)
    fan_in = {spec.name: max(1, spec.size // spec.shape[0]) for spec in specs}
    layout = Layout(specs)
    return layout, _update(layout, {name: fan**-0.5 for name, fan in fan_in.items()})


def update_for_file(path: Path) -> tuple[Layout, dict[str, Array]]:
    """The layout of a safetensors file and an update in the scale of its tensors.

    Raises MusterError("bad_data").
    """
    arrays = safetensors_file.read(path)
    try:
        layout = Layout(tuple(TensorSpec(n, a.shape, a.dtype.name) for n, a in arrays.items()))
        if not layout.parameters:
            raise TensorError("it holds no weights")
        for name in (spec.name for spec in layout.tensors if spec.floating):
            with np.errstate(over="ignore"):
                if not np.isfinite(arrays[name].astype(np.float32)).all():
                    raise TensorError(f"tensor {name!r} holds NaN, infinity or what float32 cannot hold")
    except TensorError as error:
        raise MusterError("bad_data", f"{path} cannot be tried: {error}") from None
    full = {name: array for name, array in arrays.items() if array.size}
    return layout, _update(layout, {n: float(np.std(a, dtype=np.float64)) or 1.0 for n, a in full.items()})


def _update(layout: Layout, scales: dict[str, float]) -> dict[str, Array]:
    """Normal times log-normal, at most a tensor's scale; counters stay as they are."""
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for spec in layout.tensors:
        if spec.floating and spec.size:
            tail = rng.standard_normal(spec.shape) * np.exp(rng.standard_normal(spec.shape))
            step = np.clip(_STEP * tail, -1.0, 1.0)
            found[spec.name] = (step * scales[spec.name]).astype(spec.numpy_dtype)
        else:
            found[spec.name] = np.zeros(spec.shape, spec.dtype)
    return found
