"""A trained model as a safetensors file: all of its tensors, and metadata. Without torch."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from muster.compression.tensors import Layout, expand
from muster.learning.travel import start_file


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
