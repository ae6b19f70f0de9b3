"""The round in which one node trains on all that is shared: when it is due, on what, what it waits for."""

from __future__ import annotations

from collections.abc import Iterable

from muster.history.credit import stood_for
from muster.history.point import Point
from muster.job.context import Context
from muster.job.models.job_fetcher import STALL_S
from muster.job.participant.shared_samples import SharedSamples
from muster.job.sharing.rules import usable
from muster.job.view import JobView
from muster.job.waits import Wait, names
from muster.planning.policy import UNKNOWN_RATE_BYTES_S
from muster.planning.pool import Pool
from muster.planning.rounds import Missing, closing_in_s
from muster.protocol.ids import NodeId
from muster.protocol.parts import Assignment

COME_MIN_S, COME_TIMES = 10.0, 3.0  # what samples may take to come: so long, and so many times as expected
NOBODY = "waits for a node that shares samples: nobody in reach does ([policy] share in its node.toml)"


def trains_pool(assignments: Iterable[Assignment]) -> bool:
    """Whether these are the assignments of such a round."""
    return any(a.node in a.data for a in assignments)


def covered(view: JobView, head: Point) -> set[NodeId]:
    """Nodes on whose shared samples some round of the head's history trained."""
    found: set[NodeId] = set()
    for point in view.graph.ancestors(head.id):
        found.update(*stood_for(point).values())
    return found


def pool_at(context: Context, view: JobView, head: Point) -> Pool | None:
    """What a round on `head` trains on in one place; None: it is a usual one.

    It is due where another node's samples are here and no round of the history trained on them.
    """
    if not view.job.one_shot:
        return None
    ready = SharedSamples(context, view).ready()
    held = {node: shared for node, shared in ready.items() if node in view.offers}
    if not held.keys() - {context.node} - covered(view, head):
        return None
    return Pool(tuple(sorted(held)), sum(shared.payload.size_bytes for shared in held.values()))


class PoolWindow:
    """How long the first round waits for samples that are coming; for who is away nobody waits."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._since_s: float | None = None

    def look(self, head: Point) -> tuple[Wait, float | None] | None:
        """What is awaited, and seconds until that may be over; None: the round may begin."""
        now = self._context.now()
        self._since_s = now if self._since_s is None else self._since_s
        pool = pool_at(self._context, self._view, head)
        coming = self._coming()
        arrived = 0 if pool is None else len({*pool.nodes} - {self._context.node})
        if not arrived and not any(m.reachable or m.growing(STALL_S) for m in coming):
            return Wait(NOBODY), None
        wait_s = closing_in_s(
            arrived=arrived, enough=1, missing=coming, age_s=now - self._since_s,
            deadline_s=max((m.late_at_s for m in coming), default=0.0), stall_s=STALL_S,
        )  # fmt: skip
        if wait_s == 0.0:
            return None
        return Wait(f"waits for the samples of {names(self._context, [m.node for m in coming])}"), wait_s

    def _coming(self) -> list[Missing]:
        """Nodes whose samples are not here yet. All share a link, as far as is known."""
        context, view = self._context, self._view
        here = {context.node, *SharedSamples(context, view).ready()}
        expected = usable(view, context.ledger.trust.revoked).items()
        lacking = {n: s for n, s in expected if n in view.offers and n not in here}
        all_s = sum(s.payload.size_bytes / self._rate(n) for n, s in lacking.items())
        late_at_s = COME_MIN_S + COME_TIMES * all_s
        found = []
        for node, shared in sorted(lacking.items()):
            blob = shared.payload.blob or b""
            looked_at = context.store.has_blob(blob)
            there = looked_at or context.presence.lively(node)
            found.append(Missing(node, there, context.progress_age_s(blob), late_at_s))
        return found

    def _rate(self, node: NodeId) -> float:
        return float(self._view.offers[node].goodput_bytes_s) or UNKNOWN_RATE_BYTES_S
