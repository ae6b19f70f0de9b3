"""Records that a job does without on this node, as it fails on them: kept, so that no restart meets them.

This is the second line.  What is malformed is refused before it is kept; a record that passes and that a
loop fails on all the same, again and again, is set aside here, with its reason.
"""

from __future__ import annotations

from collections import Counter
from types import TracebackType

import msgspec

from muster.history.point import Point
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView, KnownPlan
from muster.network.supervisor import EXPECTED
from muster.network.sync.ledger import Entry
from muster.protocol.ids import JobId, NodeId, RecordId
from muster.protocol.records import Commit, Contribution, Measurement, Offer, Plan, Refusal, Shared, Update
from muster.storage.store import Store

STRIKES = 3  # failures on one record
SET_ASIDE_MAX = 1000  # of a job
LOOKED_AT_MAX = 64  # of a list
# Faults of the machine and of its devices, not of a record.
_NOT_A_RECORDS = (*EXPECTED, OSError, MemoryError, TimeoutError)


class Strikes:
    """Counts on which record a job's loops failed how often."""

    def __init__(self) -> None:
        self._counts: Counter[RecordId] = Counter()

    def out(self, error: Exception, view: JobView, node: NodeId) -> RecordId | None:
        """The record on which a loop has now failed `STRIKES` times; None: none. `node`: this one, whose own
        records are never at fault."""
        found = None if isinstance(error, _NOT_A_RECORDS) else culprit(error.__traceback__, view, node)
        if found is None:
            return None
        self._counts[found] += 1
        return found if self._counts[found] >= STRIKES else None


def culprit(trace: TracebackType | None, view: JobView, node: NodeId) -> RecordId | None:
    """The record, by another node, that the innermost function had in hand when it failed: by itself, or in
    a list."""
    frames = []
    while trace is not None:
        frames.append(trace.tb_frame)
        trace = trace.tb_next
    if frames and str(frames[-1].f_globals.get("__name__")).startswith("muster.storage"):
        return None  # what it lacks is no fault of a record
    for frame in reversed(frames):
        values = list(frame.f_locals.values())
        lists = [v for value in values if isinstance(value, list | tuple) for v in value[-LOOKED_AT_MAX:]]
        for some in (values, lists[::-1]):  # of several the one that came last
            for value in some:
                found = _record(value, view)
                if found is not None and found[1] != node:
                    return found[0]
    return None


def _record(value: object, view: JobView) -> tuple[RecordId, NodeId] | None:
    """The id and author of the record that a value is, or is made from."""
    if isinstance(value, Entry):
        return value.id, value.author
    if isinstance(value, KnownUpdate):
        return value.id, value.key.node
    if isinstance(value, KnownPlan):
        return value.id, value.author
    if isinstance(value, Point):
        return None if value.is_merge else (value.id, value.author)
    if isinstance(value, Commit):
        named = (value.parents, value.params, value.age_s)  # to differ in these needs no record
        same = (p for p in view.graph.points.values() if (p.parents, p.params, p.age_s) == named)
        found = next((p for p in same if p.record == value), None)
        return None if found is None else (found.id, found.author)
    if isinstance(value, Update):
        known = next((u for u in view.updates.values() if u.record is value), None)
        return None if known is None else (known.id, known.key.node)
    if isinstance(value, Plan):
        of_all = (plan for plans in view.plans.values() for plan in plans.values())
        plan = next((p for p in of_all if p.record is value), None)
        return None if plan is None else (plan.id, plan.author)
    if isinstance(value, Offer | Refusal | Measurement | Contribution | Shared):
        author = next((node for node, record in _answers(view) if record is value), None)
        return None if author is None else (view.ids.of(author, value), author)
    return None


def _answers(view: JobView) -> list[tuple[NodeId, object]]:
    """The records that the view keeps by their author."""
    found: list[tuple[NodeId, object]] = [*view.offers.items(), *view.shared.items()]
    for by_commit in (view.measurements, view.contributions):
        for by_node in by_commit.values():
            found += by_node.items()
    return found


def load(store: Store, job: JobId) -> dict[RecordId, str]:
    """The records of a job that are set aside, each with its reason."""
    kept = store.state(_key(job))
    return {} if kept is None else msgspec.msgpack.decode(kept, type=dict[bytes, str])


def add(store: Store, job: JobId, record: RecordId, reason: str) -> None:
    """Set one more aside, for good."""
    known = load(store, job)
    if len(known) < SET_ASIDE_MAX:
        store.set_state(_key(job), msgspec.msgpack.encode(known | {record: reason}))


def _key(job: JobId) -> str:
    return "aside/" + job.hex()
