"""Made-up updates to try codecs on: heavy-tailed, each tensor in its own scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from muster.compression.tensors import DTYPES, Array, Layout, TensorSpec
from muster.errors import MusterError

# The task mnist's cnn29k (learning.mnist), so that torch need not be loaded to look at codecs.
_CNN29K = (
    ("0.weight", (16, 1, 5, 5)), ("0.bias", (16,)), ("3.weight", (32, 16, 5, 5)), ("3.bias", (32,)),
    ("7.weight", (10, 1568)), ("7.bias", (10,)),
)  # fmt: skip
_STEP = 0.01  # an update's size beside its tensor's


def of_mnist() -> tuple[Layout, dict[str, Array]]:
    """The layout of mnist's cnn29k and an update for it."""
    specs = tuple(TensorSpec(name, shape, "float32") for name, shape in _CNN29K)
    fan_in = {spec.name: max(1, spec.size // spec.shape[0]) for spec in specs}
    layout = Layout(specs)
    return layout, _update(layout, {name: fan**-0.5 for name, fan in fan_in.items()})


def of_file(path: Path) -> tuple[Layout, dict[str, Array]]:
    """The layout of a safetensors file and an update in the scale of its tensors.

    Raises MusterError("bad_data").
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except FileNotFoundError:
        raise MusterError("bad_data", f"there is no file {path}: give a safetensors file") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise MusterError("bad_data", f"{path} is not a readable safetensors file: {error}") from None
    strange = [name for name, array in arrays.items() if array.dtype.name not in DTYPES]
    if strange or not arrays:
        what = f"{strange[0]!r} has a type that muster does not carry" if strange else "it holds no tensor"
        raise MusterError("bad_data", f"{path} cannot be tried: {what}")
    layout = Layout(tuple(TensorSpec(n, a.shape, a.dtype.name) for n, a in sorted(arrays.items())))
    scales = {name: float(np.std(array.astype(np.float64))) or 1.0 for name, array in arrays.items()}
    return layout, _update(layout, scales)


def _update(layout: Layout, scales: dict[str, float]) -> dict[str, Array]:
    """Normal times log-normal; counters stay as they are."""
    rng = np.random.default_rng(0)
    found: dict[str, Array] = {}
    for spec in layout.tensors:
        if spec.floating:
            tail = rng.standard_normal(spec.shape) * np.exp(rng.standard_normal(spec.shape))
            found[spec.name] = (tail * _STEP * scales[spec.name]).astype(spec.dtype)
        else:
            found[spec.name] = np.zeros(spec.shape, spec.dtype)
    return found
