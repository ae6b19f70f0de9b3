"""Decides whom the last round waits for, and until when: it has no next one in which a late update counts.

Waited for is who owes an update, and works on it or should be heard again soon, as it came and went so far;
and the maker of an update that is known without its payload, unless nobody in reach turns out to have that.
All in all `linger` seconds at most; a job with `--seconds` and without `--linger` ends with its seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from math import inf

import msgspec

from muster.history.point import Point
from muster.job.context import Context
from muster.job.models.job_fetcher import STALL_S
from muster.job.stop_rule import ends_with
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.planning.presence import heard_again, linger_s, stays
from muster.protocol.ids import CommitId, JobId, NodeId
from muster.protocol.parts import Spent
from muster.protocol.records import Commit
from muster.storage.store import Store

OVER_SHARE = 0.01  # of its seconds that a job goes on at most for updates that are owed, if nobody says more
LINE_MAX = 32  # commits before the head, whose plans may still be owed an update


def keep_linger(store: Store, job: JobId, asked_s: float) -> None:
    """Keep what the asker said: it holds while this node coordinates; another one takes the default."""
    store.set_state(_key(job), msgspec.msgpack.encode(asked_s))


def _key(job: JobId) -> str:
    return "linger/" + job.hex()


class Lingering:
    """The last round's wait for updates that are owed."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        kept = context.store.state(_key(view.id))
        asked_s = msgspec.msgpack.decode(kept, type=float) if kept else None
        self.limit_s = linger_s(asked_s, view.job.patience_s)
        seconds = view.job.stop.seconds
        self._age_most_s = inf if seconds is None or asked_s is not None else (1.0 + OVER_SHARE) * seconds
        self.waits: dict[NodeId, float] = {}  # for whom now, and until which loop time
        self._since: tuple[CommitId, float] = b"", 0.0  # the head, and since when its round could be closed
        self._announced: dict[NodeId, float] = {}  # until when, by the events

    def wait_s(self, head: Point, age_s: float, uncounted: Sequence[KnownUpdate],
               here: Sequence[KnownUpdate]) -> float:  # fmt: skip
        """Seconds for which the round on `head` must not be closed yet, by what is owed; 0: it may be.

        `age_s` is the job's age; `uncounted` are all updates that are known, `here` those with their payload.
        """
        now = self._context.now()
        spent = self._spent(head, here)
        if not ends_with(self._view.job, head.round + bool(here), age_s, spent, head.roster):
            self.waits = {}
            return 0.0
        if self._since[0] != head.id:
            self._since, self._announced = (head.id, now), {}
        limit_s = min(self._since[1] + self.limit_s, now + self._age_most_s - age_s)
        if now >= limit_s:
            self.waits = {}
            return 0.0
        coming, owing = self._coming(uncounted, here), self._owing(head, here)
        until_s = {n: max(coming.get(n, 0.0), owing.get(n, 0.0)) for n in coming | owing}
        self.waits = {n: min(limit_s, at_s) for n, at_s in sorted(until_s.items()) if at_s > now}
        self._tell()
        return max(self.waits.values(), default=now) - now

    def sentence(self) -> str:
        """For whom it waits, and until when: "waits for c until 21:48:05"; "" for nobody."""
        now, dated, name_of = self._context.now(), self._context.clock_time, self._context.name_of
        waits = [f"{name_of(n)} until {dated(at_s)}" for n, at_s in self.waits.items() if at_s > now]
        return "waits for " + ", ".join(waits) if waits else ""

    def _spent(self, head: Point, here: Sequence[KnownUpdate]) -> tuple[Spent, ...]:
        """About what will have been spent when these are committed: the commit costs as much as the last."""
        record = head.record
        delta = record.delta if isinstance(record, Commit) else None
        down_bytes = delta.size_bytes if delta else 0
        known = {s.node: s for s in head.spent}
        for u in here:
            s = known.get(u.key.node, Spent(u.key.node, 0, 0, 0))
            bytes_ = s.bytes + u.record.payload.size_bytes + down_bytes
            joules = s.joules + u.record.millijoules / 1000
            known[s.node] = Spent(s.node, s.steps, s.examples, bytes_, joules)
        return tuple(known.values())

    def _coming(self, uncounted: Sequence[KnownUpdate], here: Sequence[KnownUpdate]) -> dict[NodeId, float]:
        """Makers of updates that are known without their payloads, and until when these should come."""
        held, until_s = {u.id for u in here}, dict[NodeId, float]()
        lacking = [u for u in uncounted if u.id not in held and u.record.payload.blob is not None]
        grew_s = {u.id: self._grew_s(u) for u in lacking}
        # one after another is fetched: by then it shows whether who brought the record has the payload
        shown_s = max([*grew_s.values(), self._since[1]]) + STALL_S
        for update in lacking:
            node = update.key.node
            at_s = max(self._sends_s(node), self._expected_s(node), self._expected_s(update.source))
            at_s = max(at_s, shown_s if self._sends_s(update.source) else grew_s[update.id] + STALL_S)
            until_s[node] = max(at_s, until_s.get(node, 0.0))
        return until_s

    def _grew_s(self, update: KnownUpdate) -> float:
        """When bytes of an update's payload came last; minus infinity: none did."""
        age_s = self._context.progress_age_s(update.record.payload.blob or b"")
        return -inf if age_s is None else self._context.now() - age_s

    def _owing(self, head: Point, here: Sequence[KnownUpdate]) -> dict[NodeId, float]:
        """Nodes that have not answered the newest plan of this line that names them, and until when each is
        to be waited for."""
        view = self._view
        done: dict[NodeId, int] = {}  # the newest base that an update of the node is in for
        for key, update in view.updates.items():
            if key in head.counted:
                done[key.node] = max(update.record.base_round, done.get(key.node, 0))
        for update in here:
            done[update.key.node] = max(update.record.base_round, done.get(update.key.node, 0))
        out = {n for n in (*view.refusals, *view.passes) if view.why_not(n, head.round + 1) is not None}
        until_s, seen = dict[NodeId, float](), out
        for point in islice(view.graph.ancestors(head.id), LINE_MAX):
            for plan in view.plans.get(point.id, {}).values():
                for node in {a.node for a in plan.record.assignments} - seen:
                    seen.add(node)
                    if done.get(node, -1) >= point.round:
                        continue
                    until_s[node] = self._waited_for_s(node, new=point is head)
        return until_s

    def _waited_for_s(self, node: NodeId, *, new: bool) -> float:
        """Until when a node is waited for that owes an update by the `new` plan, or by an older one."""
        sends_s = self._sends_s(node)
        if not sends_s:
            return self._expected_s(node)
        if self._context.presence.works_for(node, self._view.id):
            return self._context.now() + self.limit_s
        # one that is here and rests may not have the new plan yet; an old one it has given up
        return max(sends_s, self._expected_s(node)) if new else 0.0

    def _sends_s(self, node: NodeId) -> float:
        """Until when a node counts as in reach; 0: it is not, and can send nothing now."""
        lively_s = self._context.presence.lively_until_s(node)
        return lively_s if lively_s >= self._context.now() else 0.0

    def _expected_s(self, node: NodeId) -> float:
        """When a node is heard again at the latest, if it goes on as so far; 0: nobody can say, or it stays
        this time."""
        spells = self._context.presence.spells(node)
        again = heard_again(spells)
        if again is None or (self._sends_s(node) and stays(spells) is None):
            return 0.0
        return self._context.now() + again.late_s

    def _tell(self) -> None:
        """An event for each node that is waited for from now on, or longer than announced."""
        for node, at_s in self.waits.items():
            if self._context.now() >= self._announced.get(node, 0.0):
                self._announced[node] = at_s
                name = self._context.name_of(node)
                text = f"the last round waits for {name} until {self._context.clock_time(at_s)}"
                self._context.event("wait", text, job=self._view.id, node=name)
