"""What each node gave to a history: counted, late and refused updates, bytes, and what they were worth.

Summed over all commits behind a head, once a head (and again when values of a round come in).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from muster.history.graph import Point
from muster.job.view import JobView
from muster.protocol.records import Commit, NodeId


@dataclass
class Given:
    """One node's part."""

    counted: int = 0
    late: int = 0  # of the counted ones
    steps: int = 0
    examples: int = 0
    received_bytes: int = 0  # the models of the rounds that counted it, as they were sent
    refused: dict[str, int] = field(default_factory=dict)  # reason -> updates
    value: float | None = None  # of the held-out loss that it took away; None: in no round that was valued


@dataclass
class Total:
    """The check: what the values of all valued rounds add up to, and how far the loss fell in them."""

    rounds: int = 0  # that counted an update
    valued: int = 0
    predicted: float = 0.0
    drop: float = 0.0
    examples: int = 0  # held-out samples, of the round with the most
    common: bool = True  # all on the task's common set


@dataclass
class ContributionTotals:
    """Of one job on one node."""

    view: JobView
    _for: tuple[object, ...] = ()
    _found: tuple[dict[NodeId, Given], Total] = field(default_factory=lambda: ({}, Total()))

    def at(self, head: Point) -> tuple[dict[NodeId, Given], Total]:
        """Of the history of `head`; not to be changed."""
        key = (head.id, len(self.view.contributions))
        if key != self._for:
            self._for, self._found = key, tally(self.view, head)
        return self._found


def values_of(view: JobView, point: Point) -> tuple[float, ...] | None:
    """What each of a commit's `folded` was worth, or None while that is not known."""
    record = view.values(point.id)
    if record is None:
        return None
    values = struct.unpack(f"<{len(point.folded)}f", record.values)
    return values if all(map(math.isfinite, (*values, record.drop))) else None


def tally(view: JobView, head: Point) -> tuple[dict[NodeId, Given], Total]:
    nodes: dict[NodeId, Given] = {}
    total = Total()
    for point in view.graph.ancestors(head.id):
        if not isinstance(point.record, Commit):
            continue
        for d in point.record.discarded:
            reasons = nodes.setdefault(d.node, Given()).refused
            reasons[d.reason] = reasons.get(d.reason, 0) + 1
        if not point.folded:
            continue
        delta = point.record.delta
        down_bytes = delta.size_bytes if delta else point.record.params_bytes
        values = values_of(view, point)
        for place, f in enumerate(point.folded):
            node = nodes.setdefault(f.node, Given())
            node.counted += 1
            node.late += f.staleness > 0
            node.steps += f.steps
            node.examples += f.examples
            node.received_bytes += down_bytes
            if values is not None:
                node.value = (node.value or 0.0) + values[place]
        _add(total, view, point, values)
    return nodes, total


def _add(total: Total, view: JobView, point: Point, values: tuple[float, ...] | None) -> None:
    total.rounds += 1
    record = view.values(point.id)
    if values is None or record is None:
        return
    total.valued += 1
    total.predicted += sum(values)
    total.drop += record.drop
    total.examples = max(total.examples, record.examples)
    total.common &= record.common
