"""Sums up what each node contributed to a history: updates counted, late and refused, bytes, and their value.

The sum goes over all commits behind a head; it is made once a head, and again when contributions come in.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

from muster.history.credit import credits, parts
from muster.history.point import Point
from muster.job.models.stand_ins import REPLACED
from muster.job.view import JobView
from muster.protocol.ids import NodeId
from muster.protocol.records import Commit


@dataclass
class NodeTotals:
    """One node's part of a history."""

    counted: int = 0  # of its own
    stood_in: int = 0  # that others trained on its shared samples in its place
    late: int = 0  # of the counted ones
    steps: int = 0  # that it did, also in the place of others
    examples: int = 0  # of its own samples, also those that others trained on in its place
    received_bytes: int = 0  # the models of the rounds that counted it, as they were sent
    refused: dict[str, int] = field(default_factory=dict)  # reason -> updates
    value: float | None = None  # of the held-out loss that it took away; None: no round of its was estimated


@dataclass
class ValueTotals:
    """The check of the estimates: the sum of all values, and how far the loss fell in the same rounds."""

    rounds: int = 0  # that counted an update
    valued: int = 0  # of which the values are known
    predicted: float = 0.0
    drop: float = 0.0
    examples: int = 0  # held-out samples, of the round with the most
    common: bool = True  # all on the task's common set


@dataclass
class ContributionTotals:
    """Keeps the sums for the head that was last asked for."""

    view: JobView
    _for: tuple[object, ...] = ()
    _found: tuple[dict[NodeId, NodeTotals], ValueTotals] = field(default_factory=lambda: ({}, ValueTotals()))

    def at(self, head: Point) -> tuple[dict[NodeId, NodeTotals], ValueTotals]:
        """The sums over the history of `head`; not to be changed."""
        key = (head.id, len(self.view.contributions))
        if key != self._for:
            self._for, self._found = key, sum_contributions(self.view, head)
        return self._found


def values_of(view: JobView, point: Point) -> tuple[float, ...] | None:
    """The value of each of a commit's `folded`, or None while that is not known."""
    record = view.values(point.id)
    if record is None:
        return None
    values = struct.unpack(f"<{point.updates}f", record.values)
    return values if all(map(math.isfinite, (*values, record.drop))) else None


def sum_contributions(view: JobView, head: Point) -> tuple[dict[NodeId, NodeTotals], ValueTotals]:
    """Each node's part of the history of `head`, and the check of the estimated values."""
    nodes: dict[NodeId, NodeTotals] = {}
    total = ValueTotals()
    for point in view.graph.ancestors(head.id):
        record = point.record
        if not isinstance(record, Commit):
            continue
        for d in record.discarded:
            if d.reason == REPLACED:  # that is no refusal
                continue
            reasons = nodes.setdefault(d.node, NodeTotals()).refused
            reasons[d.reason] = reasons.get(d.reason, 0) + 1
        if not point.updates:
            continue
        down_bytes = record.delta.size_bytes if record.delta else record.params_bytes
        values = values_of(view, point)
        for place, (f, credited) in enumerate(credits(point)):
            author = nodes.setdefault(f.node, NodeTotals())
            author.steps += f.steps
            if credited == (f.node,):
                author.counted += 1
                author.late += f.staleness > 0
                author.received_bytes += down_bytes
            for name, count in parts(f.examples, credited):
                node = nodes.setdefault(name, NodeTotals())
                node.stood_in += name != f.node
                node.examples += count
                if values is not None:
                    node.value = (node.value or 0.0) + values[place] / len(credited)
        _add(total, view, point, values)
    return nodes, total


def _add(total: ValueTotals, view: JobView, point: Point, values: tuple[float, ...] | None) -> None:
    total.rounds += 1
    record = view.values(point.id)
    if values is None or record is None:
        return
    total.valued += 1
    total.predicted += sum(values)
    total.drop += record.drop
    total.examples = max(total.examples, record.examples)
    total.common &= record.common
