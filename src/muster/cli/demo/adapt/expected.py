"""What each model answers, so that an answer can be checked against the version that it says it is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.serving.paths import models_of

TOLERANCE = 1e-4  # one model's figures differ by less on any machine; those of two models by more


class Expected:
    """Of one node's models; each is loaded when it is first heard of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, Any] = {}

    def fits(self, version: str, picture: NDArray[np.uint8], output: list[float]) -> bool:
        """Whether the model of that version answers so. Raises OSError where there is no such model."""
        if version not in self._sessions:
            self._sessions[version] = _session(models_of(self._folder) / f"{version}.onnx")
        (wanted,) = self._sessions[version].run(["output"], {"input": picture[None]})
        return len(output) == wanted.size and bool(np.abs(wanted.ravel() - output).max() <= TOLERANCE)


def _session(path: Path) -> Any:
    import onnxruntime

    data = path.read_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
