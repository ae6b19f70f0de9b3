"""Measures how long each node took for a round, and knows from when on one is late or silent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from muster.job.context import Context
from muster.job.uncounted import KnownUpdate
from muster.planning.rounds import Missing, Resources
from muster.protocol.ids import CommitId, NodeId, RecordId
from muster.protocol.parts import Assignment, Cost
from muster.protocol.validation.limits import SPAN_MAX_MS


class Arrivals:
    """When nodes were asked for an update, and when it came, as this process saw it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        # of this round and the one before; seconds in which this process stood still are no node's
        self._asked_s: dict[tuple[CommitId, NodeId], float] = {}
        self._turnaround_s: dict[RecordId, tuple[CommitId, float]] = {}  # with the update's base
        self._late_at_s: dict[NodeId, float] = {}  # the running round's age at which a node is late
        self._silent_since_s: dict[NodeId, float] = {}  # planning time of the round in which it fell silent
        self._parents: list[CommitId] = []

    def asked(self, parent: CommitId, nodes: Collection[NodeId]) -> None:
        """A plan on `parent` that asks these nodes is published now."""
        if parent not in self._parents:
            self._parents = [*self._parents, parent][-2:]
            self._asked_s = {k: at_s for k, at_s in self._asked_s.items() if k[0] in self._parents}
            self._turnaround_s = {k: t for k, t in self._turnaround_s.items() if t[0] in self._parents}
        for node in nodes:
            self._asked_s.setdefault((parent, node), self._context.presence.awake_s())

    def planned(self, resources: Sequence[Resources], assignments: Sequence[Assignment]) -> None:
        """Note from when on each node of a new round is late. One with several assignments does one after
        another."""
        steps = Counter[NodeId]()
        for assignment in assignments:
            steps[assignment.node] += assignment.steps
        known = [r for r in resources if r.deviation_s is not None]
        self._late_at_s = {r.node: r.late_at_s(steps[r.node]) for r in known}

    def came(self, update: KnownUpdate) -> float | None:
        """Note that an update is here. Returns the seconds that the round took its node beside its steps when
        it came just now, and None when it was noted before, or when it was asked for is not known here."""
        asked_s = self._asked_s.get((update.record.base, update.key.node))
        if update.id in self._turnaround_s or asked_s is None:
            return None
        turnaround_s = self._context.presence.awake_s() - asked_s
        self._turnaround_s[update.id] = update.record.base, turnaround_s
        return max(0.0, turnaround_s - update.record.train_ms / 1000)

    def cost(self, update: KnownUpdate, *, probe: bool) -> Cost:
        """What an update cost, as its commit says it."""
        record = update.record
        _, turnaround_s = self._turnaround_s.get(update.id, (b"", 0.0))
        turnaround_ms = round(1000 * turnaround_s)
        return Cost(
            min(SPAN_MAX_MS, turnaround_ms), record.train_ms, record.payload.size_bytes, record.payload.codec,
            record.residual_ratio, record.millijoules, probe,
        )  # fmt: skip

    def late_at_s(self, node: NodeId) -> float:
        """The running round's age at which a node is late; infinite where nothing is known."""
        return self._late_at_s.get(node, math.inf)

    def closed(self, published_s: float, missing: Sequence[Missing]) -> None:
        """A round closed without these: a silent node is not waited for until it is heard again."""
        for late in missing:
            self._silent_since_s[late.node] = published_s

    def silent(self, waiting: Sequence[KnownUpdate]) -> set[NodeId]:
        """Nodes that owed an update when a round closed, and sent neither a heartbeat nor an update since."""
        now = self._context.now()
        for node in {u.key.node for u in waiting}:
            self._silent_since_s.pop(node, None)
        for node, since_s in list(self._silent_since_s.items()):
            age_s = self._context.presence.age_s(node)
            if age_s is not None and now - age_s > since_s:
                del self._silent_since_s[node]
        return set(self._silent_since_s)
