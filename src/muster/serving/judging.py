"""New labels are answered by the model in use and by the former one.

From these verdicts others decide whether the change was right.  The former model is loaded when the first
such label comes, and goes with the next swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from muster.errors import MusterError
from muster.local.local_set import LocalSet
from muster.local.rows import Sample
from muster.serving.models import OUTPUT, Loaded, give_memory_back, load
from muster.serving.oip.tensors import DTYPES
from muster.serving.pointer import Served

AT_ONCE_MAX = 32  # samples in a run
LOOK_S = 1.0


class Judge:
    """Answers labels that nobody judged yet. For one thread."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._former: Loaded | None = None
        self._unloadable = ""  # version of a former model that cannot be loaded

    def look(self, known: LocalSet, loaded: Loaded, served: Served) -> int:
        """Judge up to `AT_ONCE_MAX` samples with each model; how many. Raises MusterError."""
        if not loaded.classifies or loaded.version != served.version:
            return 0
        if self._former is not None and (
            served.former is None or served.former.version != self._former.version
        ):
            self._former = None
            give_memory_back()
        count = self._judge(known, loaded, served.since)
        if served.former is not None and known.unjudged(served.former.version, 1, served.since):
            former = self._loaded_former(served)
            if former is not None:
                self._judge(known, former, served.since)
        return count

    def _loaded_former(self, served: Served) -> Loaded | None:
        model = served.former
        assert model is not None
        if self._former is None and model.version != self._unloadable:
            try:
                self._former = load(self._folder, model, self._threads)
            except MusterError:
                self._unloadable = model.version
                raise
        return self._former

    @staticmethod
    def _judge(known: LocalSet, loaded: Loaded, since_s: float) -> int:
        samples = known.unjudged(loaded.version, AT_ONCE_MAX, since_s)
        if samples:
            known.add_verdicts(
                (sample.id, loaded.version, right)
                for sample, right in zip(samples, rights(loaded, samples), strict=True)
            )
        return len(samples)


def rights(loaded: Loaded, samples: Sequence[Sample]) -> list[bool]:
    """Whether a model answers each labelled sample with its label; what it cannot answer is wrong."""
    answers = answered(loaded, [sample.x for sample in samples])
    return [
        answer is not None and answer == sample.label for answer, sample in zip(answers, samples, strict=True)
    ]


def answered(loaded: Loaded, xs: Sequence[Any]) -> list[int | None]:
    """The class that a model gives each raw sample; None for one that does not fit its input."""
    spec = loaded.inputs[0]
    dtype = DTYPES[spec.datatype]
    found: list[int | None] = [None] * len(xs)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(xs):
        fits = x.ndim + 1 == len(spec.shape) and all(
            own in (-1, size) for own, size in zip(spec.shape[1:], x.shape, strict=True)
        )
        if fits and np.can_cast(x.dtype, dtype, "same_kind"):
            by_shape.setdefault(x.shape, []).append(i)
    most = AT_ONCE_MAX if spec.shape and spec.shape[0] < 0 else 1
    for places in by_shape.values():
        for start in range(0, len(places), most):
            some = places[start : start + most]
            batch = np.stack([xs[i] for i in some]).astype(dtype, copy=False)
            output = loaded.run((OUTPUT,), {spec.name: batch})[OUTPUT]
            for i, answer in zip(some, output.argmax(1).tolist(), strict=True):
                found[i] = answer
    return found
