"""What both kinds of task sessions do with a request: choose its function, read updates, write results."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from muster.algorithms.contribution import Contributions, WeightedUpdate
from muster.compression.tensors import TensorError
from muster.errors import MusterError
from muster.learning.faults import TaskFault

MEASURE_S_MAX = 3.0  # of trying how fast a step is

Answer: TypeAlias = dict[str, Any]
OnStep: TypeAlias = Callable[[dict[str, Any]], None]  # gets {done, of} after each piece of work; may raise
Command: TypeAlias = Callable[..., Answer]


def command_of(commands: Mapping[str, Command], what: str) -> Command:
    """The function of a request. Raises MusterError for one that is not known."""
    command = commands.get(what)
    if command is None:
        raise MusterError("internal", f"the trainer does not know the request {what!r}")
    return command


def weighted_updates(
    updates: Sequence[Sequence[Any]], decode: Callable[[bytes, bytes], Mapping[str, Any]]
) -> list[WeightedUpdate]:
    """Updates, each [weight, message or the path of one, the shape of the model that it was made on].

    `decode(message, shape)` gives its tensors; a message is read when it is needed.
    """

    def part(weight: float, source: bytes | str, shape: bytes) -> WeightedUpdate:
        def read() -> Mapping[str, Any]:
            return decode(source if isinstance(source, bytes) else Path(source).read_bytes(), shape)

        return WeightedUpdate(weight, read)

    return [part(weight, source, shape) for weight, source, shape in updates]


def contributions_answer(found: Contributions | None) -> Answer:
    """The answer to `value`; None: there is nothing to measure on."""
    answer = asdict(found or Contributions((), 0.0, 0.0, 0))
    return answer | {"values": list(answer["values"])}


@contextlib.contextmanager
def fault_of_training() -> Iterator[None]:
    """Tensors that do not fit, or are not finite, after a training are the task's fault."""
    try:
        yield
    except TensorError as error:
        raise TaskFault(f"training ended in nonsense: {error}; try a lower learning rate") from error


class Stepping:
    """Reports each of `steps` steps of a training, with its loss, and takes the time that it needs."""

    def __init__(self, on_step: OnStep, steps: int) -> None:
        self._on_step, self._steps = on_step, steps
        self._times_s: list[float] = []
        self._began_s = time.perf_counter()

    def __call__(self, done: int, loss: float) -> None:
        self._times_s.append(time.perf_counter() - self._began_s)
        self._on_step({"done": done, "of": self._steps, "loss": loss})
        self._began_s = time.perf_counter()  # the report and the throttle's sleep are no part of a step

    def answer(self, steps: int, examples: int, loss: float, skipped: int) -> Answer:
        """The answer to a request to train."""
        step_s = statistics.median(self._times_s)
        return {"steps": steps, "examples": examples, "loss": loss, "step_s": step_s, "skipped": skipped}
