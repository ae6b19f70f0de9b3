"""A round's plan from what was measured (design sections 2.5 and 5.2): pure functions.

Nodes differ in speed and in the time that bytes take to and from them.  The round's length is set by the
bulk of the nodes; one that could not finish the usual number of steps in it does fewer, so that nobody waits
for the slowest (the fold weighs updates by their steps: FedNova, Wang et al., NeurIPS 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from muster.records import Assignment, NodeId

ROUND_SLACK = 1.25  # how much longer than the median node's computing a round may be for the slower ones
STEPS_SHARE_MIN = 0.25  # nobody is asked for less than this part of the usual steps
DEADLINE_FACTOR = 1.5
DEADLINE_MARGIN_S = 3.0  # a busy device is late by seconds however short the round; islands lost nodes to 1 s
HOPE_DEADLINES = 2  # so many at the most for an update of which nothing has come
PATIENT_DEADLINES = 3  # so many at the most for an update that is on its way
ENOUGH_SHARE = 0.5
OVERHEAD_SMOOTHING = 0.5


@dataclass(frozen=True)
class Resources:
    """What is known of one node when a round is planned."""

    node: NodeId
    step_s: float  # seconds of one local step
    overhead_s: float  # seconds a round costs besides its steps: receive, encode, send
    codec: str
    busy_s: float = 0.0  # seconds of other work that it may have to finish first


@dataclass(frozen=True)
class Round:
    assignments: tuple[Assignment, ...]
    expected_s: float
    deadline_s: float
    enough: int
    why: str


@dataclass(frozen=True)
class Missing:
    """A node whose update of this round is not here yet."""

    node: NodeId
    reachable: bool
    progress_age_s: float | None  # since its payload last grew here; None when nothing of it has come


def plan_round(nodes: Sequence[Resources], steps: int, min_nodes: int) -> Round:
    """Who does how many steps, when the round should be over and when it closes at the latest."""
    assert nodes
    assert steps > 0
    # What bytes take sets the round's length, whatever anybody computes; fewer steps would not shorten that.
    compute_s = ROUND_SLACK * steps * median(n.step_s for n in nodes)
    length_s = max(n.overhead_s for n in nodes) + compute_s
    least = max(1, int(steps * STEPS_SHARE_MIN))
    assignments = []
    reduced = 0
    expected_s = 0.0
    for node in nodes:
        count = steps
        if node.overhead_s + steps * node.step_s > length_s:
            count = max(least, min(steps, int((length_s - node.overhead_s) / node.step_s)))
            reduced += count < steps
        expected_s = max(expected_s, node.overhead_s + count * node.step_s)
        assignments.append(Assignment(node.node, count, node.codec))
    assignments.sort(key=lambda a: a.node)
    enough = max(min(min_nodes, len(nodes)), int(ENOUGH_SHARE * len(nodes) + 0.5))
    why = f"{len(nodes)} nodes, {expected_s:.1f} s expected"
    if reduced:
        why += f", {reduced} slower with fewer steps"
    deadline_s = DEADLINE_FACTOR * expected_s + DEADLINE_MARGIN_S + max(n.busy_s for n in nodes)
    return Round(tuple(assignments), expected_s, deadline_s, enough, why)


def closing_in_s(
    *, arrived: int, enough: int, missing: Sequence[Missing], age_s: float, deadline_s: float, stall_s: float
) -> float | None:
    """Seconds until the round may close if nothing more happens: 0 = now, None = wait for an arrival.

    All in: now.  Not enough in: wait.  Enough in: wait for those that are reachable until the deadline, and
    beyond it for one whose payload is growing here (never more than three deadlines): progress, not a
    wall-clock limit, decides.
    """
    if not missing:
        return 0.0
    if arrived < enough:
        return None
    waits = [0.0]
    for node in missing:
        growing = node.progress_age_s is not None and node.progress_age_s < stall_s
        if growing:
            waits.append(min(stall_s, max(0.0, PATIENT_DEADLINES * deadline_s - age_s)))
        elif node.reachable:
            waits.append(max(0.0, deadline_s - age_s))
    return max(waits)


def hopeful(node: Missing, age_s: float, deadline_s: float, stall_s: float) -> bool:
    """Whether an update that is not here may still come: its payload grows, or its maker is in reach and has
    not let two deadlines pass."""
    if node.progress_age_s is not None and node.progress_age_s < stall_s:
        return True
    return node.reachable and age_s <= HOPE_DEADLINES * deadline_s


def learn_overhead_s(known_s: float | None, turnaround_s: float, steps: int, step_s: float) -> float:
    """Exponential average of what a round costs a node besides its steps."""
    measured_s = max(0.05, turnaround_s - steps * step_s)
    return measured_s if known_s is None else known_s + OVERHEAD_SMOOTHING * (measured_s - known_s)
