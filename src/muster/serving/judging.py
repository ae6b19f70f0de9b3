"""New labels are answered by the model in use and by the former one.

From these verdicts others decide whether the change was right.  The former model is loaded when the first
such label comes, and goes with the next swap.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from muster.errors import MusterError
from muster.local.local_set import LocalSet
from muster.local.rows import Sample
from muster.serving.answers import AT_ONCE_MAX, answered
from muster.serving.models import Loaded, give_memory_back, load
from muster.serving.pointer import Served

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
