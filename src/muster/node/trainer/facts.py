"""What a job needs to know of a task, from what the trainer child found in it."""

from __future__ import annotations

from dataclasses import dataclass

from muster.compression.tensors import Layout
from muster.node.trainer.messages import TaskFacts
from muster.protocol.parts import Metric


@dataclass(frozen=True)
class JobFacts:
    """Implements `job.context.Facts`."""

    name: str
    version: str
    fingerprint: bytes
    layout: Layout
    samples: int
    has_common: bool
    metrics: tuple[Metric, ...]
    skipped: int  # samples with NaN that the task leaves out
    steps_max: int | None  # in a round, by this node's settings


def job_facts(facts: TaskFacts, adapts: bool = False) -> JobFacts:
    """`adapts`: in a job for a change that nodes see, each measures on its own samples."""
    return JobFacts(
        facts.name, facts.version, facts.fingerprint, facts.layout, facts.samples,
        facts.common > 0 and not adapts, facts.metrics, facts.skipped, facts.steps_max,
    )  # fmt: skip
