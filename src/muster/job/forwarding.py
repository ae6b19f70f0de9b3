"""Who needs which record of a job, for links on which every byte counts.

Another node's update is wanted by whoever coordinates, and by nobody once a commit counts it: the commit
names it.  The way to the coordinator is the way on which its commits come.  Records that only a next
coordinator would want (offers) take their time, too, and of figures those of a head are enough.  What updates
were worth is for people: while the job goes on it waits.  What still matters is only delayed: when the
coordinator is gone, what it did not count spreads everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from muster.history.counted import Key
from muster.history.graph import Point
from muster.job.view import JobView
from muster.network.sync.deferred import Deferral
from muster.protocol.envelope import encode, record_id
from muster.protocol.records import (
    NOBODY,
    CommitId,
    Contribution,
    Measurement,
    NodeId,
    Offer,
    Record,
    RecordId,
    Refusal,
    Update,
)

HOLD_S = 60.0  # at least; several rounds of a small model on a slow link
HOLD_S_MAX = 600.0
VALUED_MAX = 256  # rounds whose values are told again in a new session


def defer(view: JobView, heads: Sequence[Point], author: NodeId, record: Record) -> Deferral | None:
    """To which neighbour a record goes now, and how long the others wait; None: at once to all.

    `heads`: of all that is known, held or not.
    """
    if isinstance(record, Update):
        base = record.base
        if heads and all(head.id != base for head in heads):  # its round is over: whoever goes on needs it
            base = _newest(heads)
    elif isinstance(record, Contribution):
        return None if any(view.finished(head) for head in heads) else Deferral(NOBODY, HOLD_S_MAX)
    elif isinstance(record, Measurement):
        base = record.commit
        point = view.graph.points.get(base)
        if point is None or view.finished(point) is not None:
            return None  # it may end the job
    elif isinstance(record, Offer | Refusal):
        if not heads:
            return None
        base = _newest(heads)
    else:
        return None
    towards, point = view.sources.get(base), view.graph.points.get(base)
    if towards is None or point is None or point.is_merge:
        return None  # everybody makes a merge: whence it came first is not where its round is coordinated
    plans = list(view.plans.get(base, {}).values())
    if any(plan.author != point.author for plan in plans):
        return None  # another one goes on from it than whoever made it
    deadline_s = max((plan.record.deadline_s for plan in plans), default=0.0)
    return Deferral(towards, min(HOLD_S_MAX, max(HOLD_S, deadline_s)))


def _newest(heads: Sequence[Point]) -> CommitId:
    return max(heads, key=lambda head: (head.round, head.id)).id


def obsolete(heads: Sequence[Point], author: NodeId, record: Record) -> bool:
    """Whether every head counts this update, so that its record can only repeat what a commit says; or
    whether these are the figures of a commit that is no head any more."""
    if isinstance(record, Measurement):
        return bool(heads) and all(record.commit != head.id for head in heads)
    if not isinstance(record, Update):
        return False
    key = Key(author, record.incarnation, record.sequence)
    return bool(heads) and all(key in head.counted for head in heads)


def unacknowledged(view: JobView, heads: Sequence[Point], *, had_deferred: bool) -> list[RecordId]:
    """Updates that some head does not count; for a neighbour that was spared records before, also figures of
    heads and what the updates of the latest rounds were worth."""
    found = [u.id for k, u in view.updates.items() if not obsolete(heads, k.node, u.record)]
    if had_deferred:
        for head in heads:
            found += [record_id(node, encode(m)) for node, m in view.measurements.get(head.id, {}).items()]
        for by_node in list(view.contributions.values())[-VALUED_MAX:]:
            found += [record_id(node, encode(c)) for node, c in by_node.items()]
    return found
