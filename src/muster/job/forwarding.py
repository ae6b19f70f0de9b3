"""Decides which neighbour needs which record of a job now, for links on which every byte counts.

Another node's update is wanted by whoever coordinates, and by nobody once a commit counts it: the commit
names it.  It goes to the neighbour from which the coordinator's commits come.  Offers, which only a next
coordinator would want, are deferred too, and so are figures of commits that are no head.  Contributions are
for people: they are deferred until the job is over.  What still matters is only delayed: when the coordinator
is gone, what it did not count spreads everywhere.  So do records of shared samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from muster.history.counted import Key
from muster.history.point import Point
from muster.job.roles import finished, newest
from muster.job.view import JobView
from muster.network.sync.deferred import Deferral
from muster.protocol.ids import NOBODY, BlobId, JobId, NodeId, RecordId
from muster.protocol.records import Commit, Contribution, Measurement, Offer, Refusal, Shared, Update
from muster.protocol.versions import Received

if TYPE_CHECKING:  # with numpy, which an idle daemon does without
    from muster.job.models.store import ModelStore

DEFER_S = 60.0  # at least; several rounds of a small model on a slow link
DEFER_S_MAX = 600.0
CONTRIBUTIONS_MAX = 256  # rounds whose contributions are announced again in a new session


def defer(view: JobView, heads: Sequence[Point], author: NodeId, record: Received) -> Deferral | None:
    """The neighbour to which a record goes now, and how long the others wait; None: it goes to all at once.

    `heads`: all that are known, held or not.
    """
    if isinstance(record, Update):
        base = record.base
        if heads and all(head.id != base for head in heads):  # its round is over: who goes on needs it
            base = newest(heads).id
    elif isinstance(record, Contribution):
        return None if any(view.finished(head) for head in heads) else Deferral(NOBODY, DEFER_S_MAX)
    elif isinstance(record, Measurement):
        base = record.commit
        point = view.graph.points.get(base)
        if point is None or view.job.stop.stale is not None or view.finished(point) is not None:
            return None  # it may end the job, and all nodes have to agree on that
    elif isinstance(record, Offer | Refusal | Shared):
        leaves = bool(view.job.like) and isinstance(record, Refusal) and author in view.offers
        if not heads or leaves:  # who needs a job no more may be the last one
            return None
        base = newest(heads).id
    else:
        return None
    towards, point = view.sources.get(base), view.graph.points.get(base)
    if towards is None or point is None or point.is_merge:
        return None  # each node computes a merge: its first source is not where its round is coordinated
    plans = list(view.plans.get(base, {}).values())
    if any(plan.author != point.author for plan in plans):
        return None  # another node than the commit's author goes on from it
    deadline_s = max((plan.record.deadline_s for plan in plans), default=0.0)
    return Deferral(towards, min(DEFER_S_MAX, max(DEFER_S, deadline_s)))


def obsolete(view: JobView, heads: Sequence[Point], author: NodeId, record: Received) -> bool:
    """Whether nobody needs a record any more: an update that every head counts, so that it only repeats what
    a commit says, the figures of a commit that is no head any more, or samples for a job that is over."""
    if isinstance(record, Shared):
        return finished(view, heads) is not None
    if isinstance(record, Measurement):
        return bool(heads) and all(record.commit != head.id for head in heads)
    if not isinstance(record, Update):
        return False
    key = Key(author, record.incarnation, record.sequence)
    return bool(heads) and all(key in head.counted for head in heads)


def awaits(view: JobView, held: Sequence[Point], node: NodeId, blob: BlobId) -> bool:
    """Whether a job in which `node` takes part waits for a blob to pass: the payload of an update that none
    of the `held` heads counts, which is deleted once one does (`models.retention`), or shared samples."""
    if node in view.refusals:
        return False
    if any(shared.payload.blob == blob for shared in view.shared.values()) and finished(view, held) is None:
        return True
    return any(
        update.record.payload.blob == blob and not any(key in head.counted for head in held)
        for key, update in view.updates.items()
    )


def made_by(view: JobView, node: NodeId, blob: BlobId) -> bool:
    """Whether a blob is the payload of an update of `node`, what one of its commits changed, or its shared
    samples."""
    if node in view.shared and view.shared[node].payload.blob == blob:
        return True
    updates = (u.record.payload.blob for key, u in view.updates.items() if key.node == node)
    if any(blob == theirs for theirs in updates):
        return True
    of = (p for p in view.graph.points.values() if p.author == node and blob in (p.delta_blob, p.params))
    return any(p.delta_blob == blob or (isinstance(p.record, Commit) and not p.record.delta) for p in of)


def unacknowledged(view: JobView, heads: Sequence[Point], *, had_deferred: bool) -> list[RecordId]:
    """Ids of updates that some head does not count; with `had_deferred`, for a neighbour from which records
    were deferred before, also of shared samples, of the heads' figures and of the latest rounds'
    contributions."""
    found = [u.id for k, u in view.updates.items() if not obsolete(view, heads, k.node, u.record)]
    if had_deferred:
        if finished(view, heads) is None:
            found += [view.ids.of(node, shared) for node, shared in view.shared.items()]
        for head in heads:
            found += [view.ids.of(node, m) for node, m in view.measurements.get(head.id, {}).items()]
        for by_node in list(view.contributions.values())[-CONTRIBUTIONS_MAX:]:
            found += [view.ids.of(node, c) for node, c in by_node.items()]
    return found


class JobForwarding:
    """Decides for all jobs of a node (`network.sync.deferred.Forwarding`)."""

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._jobs: dict[JobId, tuple[JobView, ModelStore]] = {}

    def add(self, view: JobView, models: ModelStore) -> None:
        """Decide for one more job; records of unknown jobs go to everybody."""
        self._jobs[view.id] = view, models

    def remove(self, job: JobId) -> None:
        """A job is retired."""
        self._jobs.pop(job, None)

    def defer(self, author: NodeId, record: Received) -> Deferral | None:
        view, models = self._jobs.get(_job_of(record), (None, None))
        return defer(view, models.known_heads(), author, record) if view and models else None

    def obsolete(self, author: NodeId, record: Received) -> bool:
        view, models = self._jobs.get(_job_of(record), (None, None))
        return bool(view and models and obsolete(view, models.known_heads(), author, record))

    def awaits(self, blob: BlobId) -> bool:
        """Whether a job in which this node takes part waits for a blob that a neighbour asks it for."""
        return any(awaits(view, models.heads(), self._node, blob) for view, models in self._jobs.values())

    def asker(self, job: JobId) -> NodeId | None:
        """Of a job in memory."""
        view, _ = self._jobs.get(job, (None, None))
        return view.asker if view else None

    def adapts(self, job: JobId) -> bool:
        """Whether a job in memory is one for nodes with a like need."""
        view, _ = self._jobs.get(job, (None, None))
        return view is not None and bool(view.job.like)

    def made_here(self, blob: BlobId) -> bool:
        """Whether a blob carries an update or a commit of this node, which is delivered whatever else is."""
        return any(made_by(view, self._node, blob) for view, _ in self._jobs.values())

    def unacknowledged(self, *, had_deferred: bool) -> list[RecordId]:
        return [
            found
            for view, models in self._jobs.values()
            for found in unacknowledged(view, models.known_heads(), had_deferred=had_deferred)
        ]


def _job_of(record: Received) -> JobId:
    job: JobId = getattr(record, "job", b"")
    return job
