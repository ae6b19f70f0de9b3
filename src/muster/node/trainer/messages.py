"""Requests to the trainer and its answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from muster.compression.tensors import Layout
from muster.protocol.parts import Metric


@dataclass(frozen=True)
class TaskSource:
    """What to open: an installed task's name or a .py file, its options, and the share of the machine.

    `throttle` F makes each step take F times as long as it needs (1 is full speed).
    """

    reference: str
    options: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    niceness: int = 10
    throttle: float = 1.0


@dataclass(frozen=True)
class TaskFacts:
    """What the child found in the task.

    `classes` are (label, samples held); empty when the targets are no classes.
    """

    name: str
    version: str
    fingerprint: bytes
    layout: Layout
    samples: int
    classes: tuple[tuple[int, int], ...]
    common: int  # samples of the evaluation set that every node has; 0: each holds out its own
    metrics: tuple[Metric, ...]  # the first is the headline
    defaults: dict[str, Any] = field(default_factory=dict)  # of its jobs: fields of a request, by name
    skipped: int = 0  # samples with NaN that the task leaves out
    steps_max: int | None = None  # in a round, by this node's settings


@dataclass(frozen=True)
class Progress:
    """How far the current request is; `loss` only while training."""

    done: int
    of: int
    loss: float | None = None


@dataclass(frozen=True)
class TrainedMessage:
    """`step_s`: the median seconds of its steps; `loss`: their mean loss; `skipped`: samples with NaN that
    its batches left out."""

    steps: int
    examples: int
    loss: float
    step_s: float
    skipped: int = 0


@dataclass(frozen=True)
class RateMessage:
    """The learning rate that a range test found, and the rates that it tried. `lr` None: none, and `why`."""

    lr: float | None
    low: float = 0.0
    high: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    why: str = ""

    def origin(self) -> str:
        """Where the rate comes from that is taken, as its user reads it."""
        if self.lr is None:
            return f"the default: {self.why}"
        return f"in {self.seconds:.1f} s (tried {self.low:.2g} to {self.high:.2g})"


@dataclass(frozen=True)
class EvaluatedMessage:
    """What was measured on held-out examples: name -> (sum, what it was taken of).

    `skipped`: as in training.
    """

    examples: int
    figures: dict[str, tuple[float, float]]
    skipped: int = 0


@dataclass(frozen=True)
class SamplesMessage:
    """A coreset of the node's data: what `job.context.MadeSamples` says of it."""

    kind: str
    samples: int
    stands_for: int
    bits: int


@dataclass(frozen=True)
class ServingMessage:
    """Of a model written to be served: one raw sample's dtype and shape (-1: any size), and how many
    classes the model tells apart; 0: it is no classifier."""

    dtype: str
    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class TensorFacts:
    """A tensor of the model. `kind`: "travels", "averaged" or "counted" (these travel, too), "frozen",
    "local" (stays on its node) or "constant"."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    size_bytes: int
    kind: str


@dataclass(frozen=True)
class InspectedMessage:
    """What the model consists of, and the most memory that the child took so far."""

    tensors: tuple[TensorFacts, ...]
    memory_bytes: int
