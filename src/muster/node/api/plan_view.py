"""What `muster plan` prints: values, sent as JSON."""

from __future__ import annotations

import msgspec


class PlannedNode(msgspec.Struct, frozen=True):
    """A node's part in the first round."""

    node: str  # name
    steps: int
    codec: str  # of its update
    step_s: float  # seconds of one step
    seconds: float  # of its part, messages included
    bytes: int  # both directions
    joules: float  # 0: not known
    known_by: str  # "measured here", "a job before", "an offer before", "like those known"


class PlannedRound(msgspec.Struct, frozen=True):
    """A round; sums over all nodes."""

    round: int
    why: str  # in a sentence
    seconds: float
    bytes: int
    joules: float


class PlanView(msgspec.Struct, frozen=True):
    """What a job would take, by what is known before anybody is asked."""

    task: str
    nodes: list[PlannedNode]
    rounds: list[PlannedRound]  # the first ones
    rounds_planned: int
    ends: bool  # with these; else the figures below are of the first `rounds_planned`
    seconds: float
    bytes: int
    joules: float  # 0: not known
    sentences: list[str]  # what ends the job, what is not known
