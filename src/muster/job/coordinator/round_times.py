"""Learns how long nodes take for a round, and from when on a node is late.

One coordinator's knowledge, in memory: the next one learns it again from its first rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

from muster.history.graph import Point
from muster.job.context import Context
from muster.job.models.store import ModelStore
from muster.job.view import JobView, KnownUpdate
from muster.planning.codec_choice import CodecChoice
from muster.planning.rounds import Missing, Overhead, Resources, learn_overhead
from muster.protocol.records import CommitId, JobId, NodeId
from muster.storage.store import Store

UNKNOWN_RATE_BYTES_S = 16_000.0  # assumed of a link until a round was measured


def keep_from_seed(store: Store, job: JobId) -> None:
    """Keep at the asker that its job begins from the seed's model, which every node can make."""
    store.set_state(_key(job), b"1")


def from_seed(store: Store, job: JobId) -> bool:
    """Whether this node asked for the job and it begins from the seed's model."""
    return store.state(_key(job)) is not None


def _key(job: JobId) -> str:
    return "seeded/" + job.hex()


class RoundTimeModel:
    """Models the round time of each node of one job: its steps, and an overhead that varies."""

    def __init__(self, context: Context, view: JobView, models: ModelStore) -> None:
        self._context, self._view, self._models = context, view, models
        self._overhead: dict[NodeId, Overhead] = {}
        self._late_at_s: dict[NodeId, float] = {}  # the running round's age at which a node is late
        self._silent_since_s: dict[NodeId, float] = {}  # planning time of the round in which it fell silent
        self._closed: tuple[CommitId, float] = b"", 0.0  # the last round's parent, and when it was planned

    def resources(self, head: Point, node: NodeId, choice: CodecChoice) -> Resources:
        """The figures of a node when a round on `head` is planned."""
        step_s = max(1e-4, self._view.offers[node].step_s)
        # at a merge most are in the middle of their branch's next round, and finish that first
        amid = head.is_merge and self._context.presence.doing(node) == "training"
        busy_s = step_s * self._view.job.recipe.steps if amid else 0.0
        overhead = self._overhead.get(node) or self._usual(node, choice)
        deviation_s = None if head.is_merge else overhead.deviation_s  # at a merge nothing is as usual
        return Resources(node, step_s, overhead.seconds, choice.codec, busy_s, deviation_s)

    def _usual(self, node: NodeId, choice: CodecChoice) -> Overhead:
        """The overhead of a node that was in no round yet: the slowest of the others', as it may have to
        catch up; at first what its update takes, and the model unless it has that already."""
        known_s = [overhead.seconds for overhead in self._overhead.values()]
        if len(known_s) > len(self._view.offers) / 2:
            return Overhead(max(known_s))
        if node == self._context.node:
            return Overhead(0.5)
        layout, size_bytes = self._models.layout, choice.size_bytes
        if layout is not None and not self._has_model(node):
            size_bytes += layout.blob_bytes
        return Overhead(0.5 + size_bytes / self._rate_bytes_s(node))

    def _has_model(self, node: NodeId) -> bool:
        """Whether a node that offered has the model: it came there, or it was made there from the seed."""
        offer = self._view.offers.get(node)
        came = offer is not None and offer.goodput_bytes_s > 0
        return came or from_seed(self._context.store, self._view.id)

    def _rate_bytes_s(self, node: NodeId) -> float:
        """The goodput to a node as it offered it, else as others did."""
        offer = self._view.offers.get(node)
        if offer is not None and offer.goodput_bytes_s > 0:
            return offer.goodput_bytes_s
        offered = [o.goodput_bytes_s for o in self._view.offers.values() if o.goodput_bytes_s > 0]
        return median(offered) if offered else UNKNOWN_RATE_BYTES_S

    def planned(self, nodes: Sequence[Resources], steps: Mapping[NodeId, int]) -> None:
        """Note from when on each node of a new round is late."""
        self._late_at_s = {n.node: n.late_at_s(steps[n.node]) for n in nodes if n.deviation_s is not None}

    def late_at_s(self, node: NodeId) -> float:
        """The running round's age at which the node is late; infinite where nothing is known."""
        return self._late_at_s.get(node, math.inf)

    def arrived(self, update: KnownUpdate, parent: CommitId, published_s: float) -> float | None:
        """Learn from an update that came just now; the round on `parent`, planned at `published_s`, is open.

        Returns the seconds that the round took its node beside its steps; None for one of another round.
        """
        offer = self._view.offers.get(update.key.node)
        planned_s = {self._closed[0]: self._closed[1], parent: published_s}  # a late update shows it, too
        base = self._view.graph.points.get(update.record.base)
        since_s = planned_s.get(update.record.base)
        if offer is None or since_s is None or base is None or base.is_merge:
            return None
        turnaround_s, steps = self._context.now() - since_s, update.record.steps
        known = self._overhead.get(update.key.node)
        self._overhead[update.key.node] = learn_overhead(known, turnaround_s, steps, offer.step_s)
        if update.record.base != parent:
            return None
        return max(0.0, turnaround_s - steps * offer.step_s)

    def closed(self, parent: CommitId, published_s: float, missing: Sequence[Missing]) -> None:
        """Note that a round closed without these: a silent node is not waited for until it is heard again, a
        reachable one may take longer the next time."""
        self._closed = (parent, published_s)
        for late in missing:
            self._silent_since_s[late.node] = published_s
            if late.node in self._overhead:
                self._overhead[late.node] = self._overhead[late.node].late()

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
