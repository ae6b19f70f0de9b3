"""Plans a round from what was measured, and says when it may close: pure functions.

Nodes differ in speed and in the time that bytes take to and from them.  The round's length is set by the
bulk of the nodes; one that could not finish the usual number of steps in it does fewer, so that nobody waits
for stragglers (the fold weighs updates by their steps: algorithms/aggregation.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from muster.planning.steps import fitting_steps
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment
from muster.protocol.validation.limits import STEPS_MAX

ROUND_SLACK = 1.25  # how much longer than the median node's computing a round may be for the slower ones
SLACK_MIN_S = 1.0  # and so much at least: less is no gain, and what few steps teach is noise with full weight
STEPS_SHARE_MIN = 0.25  # nobody is asked for less than this part of the usual steps
LATE_SHARE = 0.5  # of what a node is expected to take: who comes and goes is worth that much of a long round
LATE_S = 3.0  # and more while nothing is known: a busy device is late by seconds however short the round
LATE_MIN_S = 0.5  # a device that was always on time may be so late,
LATE_SHARE_KNOWN = 0.25  # or by so much of what it is expected to take; later it is counted in the next round
DEVIATIONS = 4.0  # as TCP waits for an answer (Jacobson 1988; RFC 6298)
DEVIATION_SMOOTHING = 0.25
HOPE_DEADLINES = 2  # so many at the most for an update of which nothing has come,
HOPE_MIN_S = 6.0  # and not less than this: a link takes seconds to be opened again
PATIENT_DEADLINES = 3  # so many at the most for an update whose payload is coming in,
PATIENT_MIN_S = 15.0  # and not less than this
ENOUGH_SHARE = 0.5
OVERHEAD_SMOOTHING = 0.5


@dataclass(frozen=True)
class Resources:
    """The measured figures of one node when a round is planned."""

    node: NodeId
    step_s: float  # seconds of one local step
    overhead_s: float  # seconds a round costs besides its steps: receive, encode, send
    codec: str
    busy_s: float = 0.0  # seconds of other work that it may have to finish first
    deviation_s: float | None = None  # by how much it was off the expected time lately; None: not known yet

    def expected_s(self, steps: int) -> float:
        """Seconds that a round with so many steps takes the node."""
        return self.overhead_s + steps * self.step_s

    def late_at_s(self, steps: int) -> float:
        """The round's age at which the node is late: it is not waited for any longer."""
        expected_s = self.expected_s(steps)
        late_s = LATE_SHARE * expected_s + LATE_S
        if self.deviation_s is not None:
            by_share_s, by_deviation_s = LATE_SHARE_KNOWN * expected_s, DEVIATIONS * self.deviation_s
            late_s = min(late_s, max(LATE_MIN_S, by_share_s, by_deviation_s))
        return self.busy_s + expected_s + late_s


@dataclass(frozen=True)
class Round:
    """The plan of one round: who does what, when it should be over and when it closes at the latest."""

    assignments: tuple[Assignment, ...]
    expected_s: float
    deadline_s: float
    enough: int


@dataclass(frozen=True)
class Missing:
    """A node whose update of this round is not here yet."""

    node: NodeId
    reachable: bool
    progress_age_s: float | None  # since its payload last grew here; None when nothing of it has come
    late_at_s: float = math.inf  # the round's age from which on it is late

    def growing(self, stall_s: float) -> bool:
        """Whether its payload is coming in."""
        return self.progress_age_s is not None and self.progress_age_s < stall_s


def plan_round(
    nodes: Sequence[Resources],
    steps: int,
    min_nodes: int,
    *,
    window_s: float | None = None,
    most: Callable[[NodeId], int] = lambda node: STEPS_MAX,
) -> Round:
    """Assign steps to `nodes`, fewer to the slower ones, and set the deadline.

    Nobody does more than `most(node)`.  In a window of `window_s` each takes what fits, the fast ones more
    than `steps`.
    """
    assert nodes
    assert steps > 0
    # What bytes take sets the round's length, whatever anybody computes; fewer steps would not shorten that.
    usual_s = steps * median(n.step_s for n in nodes)
    compute_s = max(ROUND_SLACK * usual_s, usual_s + SLACK_MIN_S)
    length_s = max(n.overhead_s for n in nodes) + compute_s
    least = max(1, int(steps * STEPS_SHARE_MIN))
    assignments = []
    expected_s = deadline_s = 0.0
    for node in nodes:
        count = steps
        if window_s is not None:
            count = fitting_steps(window_s, node.overhead_s, node.step_s, most(node.node))
        elif node.expected_s(steps) > length_s:
            count = max(least, min(steps, int((length_s - node.overhead_s) / node.step_s)))
        count = min(count, most(node.node))
        expected_s = max(expected_s, node.expected_s(count))
        deadline_s = max(deadline_s, node.late_at_s(count))
        assignments.append(Assignment(node.node, count, node.codec))
    assignments.sort(key=lambda a: a.node)
    enough = max(min(min_nodes, len(nodes)), int(ENOUGH_SHARE * len(nodes) + 0.5))
    return Round(tuple(assignments), expected_s, deadline_s, enough)


def closing_in_s(
    *, arrived: int, enough: int, missing: Sequence[Missing], age_s: float, deadline_s: float, stall_s: float
) -> float | None:
    """Seconds until the round may close if nothing more happens: 0 = now, None = wait for an arrival.

    All in: now.  Not enough in: wait.  Enough in: wait for those that are reachable until they are late, and
    beyond that for one whose payload is growing here (never more than PATIENT_DEADLINES): progress, not a
    wall-clock limit, decides.
    """
    if not missing:
        return 0.0
    if arrived < enough:
        return None
    waits = [0.0]
    for node in missing:
        if node.growing(stall_s):
            patient_s = max(PATIENT_MIN_S, PATIENT_DEADLINES * deadline_s)
            waits.append(min(stall_s, max(0.0, patient_s - age_s)))
        elif node.reachable:
            waits.append(max(0.0, min(deadline_s, node.late_at_s) - age_s))
    return max(waits)


def hopeful(node: Missing, age_s: float, deadline_s: float, stall_s: float) -> bool:
    """Whether a missing update may still come: its payload grows, or its node is in reach and has not let
    two deadlines pass."""
    if node.growing(stall_s):
        return True
    return node.reachable and age_s <= max(HOPE_MIN_S, HOPE_DEADLINES * deadline_s)


@dataclass(frozen=True)
class Overhead:
    """Seconds that a round costs a node besides its steps, as measured, and by how much they vary."""

    seconds: float
    deviation_s: float | None = None  # smoothed |difference| from the expected time; None: one round only

    def late(self) -> Overhead:
        """The same after a round that closed without it: the next one waits twice as long (RFC 6298, 5.5)."""
        deviation_s = None if self.deviation_s is None else 2 * max(self.deviation_s, LATE_MIN_S / DEVIATIONS)
        return Overhead(self.seconds, deviation_s)


def learn_overhead(known: Overhead | None, turnaround_s: float, train_s: float) -> Overhead:
    """The overhead after one more round: exponential averages, as TCP's of round-trip times (RFC 6298)."""
    measured_s = max(0.05, turnaround_s - train_s)
    if known is None:
        return Overhead(measured_s)
    deviation_s = abs(measured_s - known.seconds)
    if known.deviation_s is not None:
        deviation_s = known.deviation_s + DEVIATION_SMOOTHING * (deviation_s - known.deviation_s)
    return Overhead(known.seconds + OVERHEAD_SMOOTHING * (measured_s - known.seconds), deviation_s)
