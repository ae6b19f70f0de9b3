"""A model that answers: an onnxruntime session with what it was loaded from. It never changes."""

from __future__ import annotations

import contextlib
import ctypes
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muster.errors import MusterError
from muster.serving.oip.tensors import DTYPES, TensorSpec
from muster.serving.pointer import Model, verified

WARM_RUNS = 3
OUTPUT, CONFIDENCE, ENTROPY = "output", "confidence", "entropy"


def need_onnxruntime() -> Any:
    """The module. Raises MusterError where the extra is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MusterError("usage", "serving needs onnxruntime: pip install 'muster-fl[serve]'") from error
    return onnxruntime


@dataclass(frozen=True, eq=False)
class Loaded:
    """One version of a task's model in memory. A request keeps the one that it began with."""

    version: str
    session: Any
    inputs: tuple[TensorSpec, ...]
    outputs: Mapping[str, TensorSpec]
    metadata: Mapping[str, str]
    classes: tuple[str, ...]  # names of the labels in order; empty: not known
    run_s: float | None  # of one sample; None: not known, as no sample could be made up

    @cached_property
    def classifies(self) -> bool:
        """Whether answers are classes (`answers.classes_of`), one a sample."""
        output, entropy = self.outputs.get(OUTPUT), self.outputs.get(ENTROPY)
        return (
            output is not None and entropy is not None and len(output.shape) <= 2 and len(entropy.shape) == 1
        )

    def run(self, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name. Raises what onnxruntime raises."""
        return dict(zip(names, self.session.run(names, feeds), strict=True))


def load(folder: Path, model: Model, threads: int = 1) -> Loaded:
    """Verify, load and try a model. Takes up to a second for 45 MB. Raises MusterError bad_data."""
    return load_file(verified(folder, model), model.version, threads)


def load_file(path: Path, version: str, threads: int = 1) -> Loaded:
    """The same for any file. Raises MusterError bad_data."""
    ort = need_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what fails is raised, too
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = tuple(TensorSpec.of_onnx(i.name, i.type, i.shape) for i in session.get_inputs())
        outputs = {o.name: TensorSpec.of_onnx(o.name, o.type, o.shape) for o in session.get_outputs()}
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        run_s = _try(session, inputs, list(outputs))
    except Exception as error:  # onnxruntime has a dozen kinds of its own
        said = " ".join(str(error).split())[:300]
        raise MusterError("bad_data", f"the model {path} cannot be loaded: {said}") from error
    finally:
        give_memory_back()
    return Loaded(version, session, inputs, outputs, metadata, _classes(metadata), run_s)


def _try(session: Any, inputs: Sequence[TensorSpec], outputs: list[str]) -> float | None:
    """Seconds that one made-up sample takes, the best of a few; the first run also prepares memory.
    None where sizes besides that of the batch are free: only clients know what fits."""
    if any(size < 0 for spec in inputs for size in spec.shape[1:]):
        return None
    feeds = {i.name: np.zeros([1 if n < 0 else n for n in i.shape], DTYPES[i.datatype]) for i in inputs}
    spent = []
    for _ in range(WARM_RUNS):
        began_s = time.perf_counter()
        session.run(outputs, feeds)
        spent.append(time.perf_counter() - began_s)
    return min(spent)


def _classes(metadata: Mapping[str, str]) -> tuple[str, ...]:
    try:
        found = json.loads(metadata.get("classes", "[]"))
    except ValueError:
        return ()
    return tuple(map(str, found)) if isinstance(found, list) else ()


def give_memory_back() -> None:
    """Give the kernel what loading and dropping sessions left unused.

    glibc keeps it otherwise: six swaps of a model of 45 MB take 800 MB (onnxruntime issue 26831).
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
