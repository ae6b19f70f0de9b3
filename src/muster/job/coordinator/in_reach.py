"""Who can be asked for a round now, and what is known of those who owe an update."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from muster.history.point import Point
from muster.job.context import Context
from muster.job.coordinator.arrivals import Arrivals
from muster.job.models.job_fetcher import STALL_S
from muster.job.stop_rule import spent_up
from muster.job.uncounted import KnownUpdate
from muster.job.view import JobView
from muster.planning.rounds import Missing
from muster.protocol.ids import BlobId, NodeId

ROUND_NODES_MAX = 512  # of a round: a commit record has room for some 780 updates, late ones included

Coming: TypeAlias = Mapping[NodeId, Sequence[BlobId]]


def coming(uncounted: Sequence[KnownUpdate]) -> Coming:
    """The payloads of updates that are known, by who made them."""
    found: dict[NodeId, list[BlobId]] = {}
    for update in uncounted:
        if update.record.payload.blob is not None:
            found.setdefault(update.key.node, []).append(update.record.payload.blob)
    return found


def owing(
    context: Context, arrivals: Arrivals, node: NodeId, coming: Coming, silent: Collection[NodeId] = ()
) -> Missing:
    """What is known of a node whose update is awaited."""
    ages = [context.progress_age_s(blob) for blob in coming.get(node, ())]
    growing = min((a for a in ages if a is not None), default=None)
    here = context.presence.lively(node) and node not in silent
    return Missing(node, here, growing, arrivals.late_at_s(node))


def present(
    context: Context, view: JobView, arrivals: Arrivals, head: Point, uncounted: Sequence[KnownUpdate]
) -> list[NodeId]:
    """Nodes that can be given work now: their heartbeats come, or an update does, which delays them.

    Of more than a round takes those that had the fewest examples so far, so that everybody has a turn.
    """
    poor, arriving = set(spent_up(view.job.stop, head.spent)), coming(uncounted)
    willing = [n for n in view.offers if n not in poor and view.why_not(n, head.round + 1) is None]
    here = [
        n
        for n in willing
        if context.presence.lively(n) or owing(context, arrivals, n, arriving).growing(STALL_S)
    ]
    if len(here) <= ROUND_NODES_MAX:
        return here
    examples = {s.node: s.examples for s in head.spent}
    turn = {*sorted(here, key=lambda n: (examples.get(n, 0), n))[:ROUND_NODES_MAX]}
    return [n for n in here if n in turn]
