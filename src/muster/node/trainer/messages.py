"""What is said to the trainer and what it answers: plain values, known on both sides of the job layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from muster.compression.tensors import Layout


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
    """`classes` are (label, samples held); empty when the targets are no classes."""

    name: str
    version: str
    fingerprint: bytes
    layout: Layout
    samples: int
    classes: tuple[tuple[int, int], ...]
    common: int  # samples of the evaluation set that every node has; 0: each holds out its own


@dataclass(frozen=True)
class Progress:
    """Of the request under way; `loss` only while training."""

    done: int
    of: int
    loss: float | None = None


@dataclass(frozen=True)
class TrainedMessage:
    """`step_s`: the median of its steps, of the batch that was asked for."""

    steps: int
    examples: int
    loss: float
    step_s: float


@dataclass(frozen=True)
class EvaluatedMessage:
    examples: int
    correct: int
    loss_sum: float


@dataclass(frozen=True)
class ContributionMessage:
    """In the order of the updates; `before` and `after` are mean losses on `examples` (0: no such data)."""

    values: tuple[float, ...]
    before: float
    after: float
    examples: int
