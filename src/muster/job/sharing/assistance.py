"""What a job's asker hands to nodes that have power and no data, as this node sees it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from muster.job.context import Context
from muster.job.participant.shared_samples import SharedSamples
from muster.job.sharing.rules import has_data, room_bytes
from muster.job.view import JobView
from muster.job.waits import Wait, names
from muster.planning.assistance import ALIKE, Lent, first_terms, steps_ahead
from muster.planning.assistance import room_bytes as worth_bytes
from muster.planning.costs import Left
from muster.planning.round_plan import RoundPlan
from muster.protocol.ids import NodeId

MAKING_S, MAKING_STEPS = 30.0, 200  # at most, that the first round waits for samples which are being made


def measurer(context: Context, view: JobView) -> NodeId | None:
    """Who measures heads for an asker that is much slower: its fastest helper in reach; None: nobody."""
    asker = view.offers.get(view.asker)
    if asker is None or view.asker not in view.shared or not asker.samples:
        return None
    lively = context.presence.lively
    found = [
        (offer.step_s, node)
        for node, offer in view.offers.items()
        if not offer.samples and node not in view.refusals and (node == context.node or lively(node))
    ]
    step_s, node = min(found, default=(math.inf, None))
    return node if ALIKE * step_s <= asker.step_s else None


class Assistance:
    """Of one job, by its view."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._asked_s: float | None = None  # since when samples are awaited
        self._unhelped: Wait | None = None  # why nodes that could help in the last round do not

    def helpers(self) -> list[NodeId]:
        """Nodes that take part and have no data of their own."""
        view = self._view
        return [n for n in view.offers if not has_data(view, n) and n not in view.refusals]

    def room_bytes(self) -> int | None:
        """What the asker's samples may take that helpers train on; None: none of them could pay."""
        view, job = self._view, self._view.job
        mine = view.offers.get(view.asker)
        if job.share == "none" or job.one_shot or mine is None or not mine.samples:
            return None
        steps = steps_ahead(job, mine.step_s, Left(job.stop.rounds, job.stop.seconds))
        rooms = []
        for node in self.helpers():
            offer = view.offers[node]
            rate = offer.goodput_bytes_s or self._context.rate_bytes_s(node) or 0.0
            terms = first_terms(mine.step_s, offer.step_s, rate, job.recipe.steps)
            rooms.append(worth_bytes(terms, steps))
        room = max(rooms, default=0)
        return room_bytes(view, room) if room else None

    def awaited_s(self) -> float:
        """Seconds that the first round waits yet for samples of this node, which asks; 0: it does not."""
        view, me, now = self._view, self._context.node, self._context.now()
        comes = view.asker == me and me not in view.shared and view.shares_none is None
        if not comes or self._context.policy.share.share == "none" or self.room_bytes() is None:
            return 0.0
        self._asked_s = now if self._asked_s is None else self._asked_s
        making_s = max(MAKING_S, MAKING_STEPS * view.offers[me].step_s)
        return max(0.0, self._asked_s + making_s - now)

    def lacking(self, nodes: Collection[NodeId]) -> str | None:
        """What these nodes wait for if none of them has anything to train on."""
        if any(has_data(self._view, n) for n in nodes):
            return None
        lent = self.lent()
        if lent is not None and not lent.why_none:
            return None
        why = "none shares samples" if lent is None else lent.why_none
        return f"waits for a node that has data: none is in reach, and {why}"

    def lent(self) -> Lent | None:
        """What helpers can train on; None: the asker has no data itself."""
        view, context, asker = self._view, self._context, self._view.asker
        offer = view.offers.get(asker)
        if offer is None or not offer.samples:
            return None
        name, shared = context.name_of(asker), view.shared.get(asker)
        if shared is not None and not view.job.one_shot and asker in SharedSamples(context, view).ready():
            return Lent(asker, offer.step_s, shared.samples, shared.payload.size_bytes)
        why = f"{name} shares no samples"
        if view.job.one_shot:
            why = "the rounds after one shot are each node's own"
        elif view.job.share == "none":
            why = f"the job asks for no samples of {name} (--share auto)"
        elif asker == context.node and context.policy.share.share == "none":
            why = f"the owner of {name} lets no samples leave it ([policy] share in its node.toml)"
        elif asker == context.node and view.shares_none is not None:
            why = f"{name} shares no samples: {view.shares_none}"
        elif asker == context.node and shared is None and self.room_bytes() is None:
            why = "help does not pay: by the steps that were measured"
        elif shared is not None:
            why = f"the samples of {name} are not here"
        return Lent(asker, offer.step_s, why_none=why)

    def explained(self, found: RoundPlan) -> RoundPlan:
        """A new plan, which says why nobody helps if the one before did not say the same."""
        before, self._unhelped = self._unhelped, None
        if not found.unhelped:
            return found
        helpers, why = names(self._context, self.helpers()), found.unhelped.partition(":")[0]
        self._unhelped = Wait(f"goes on without the help of {helpers}: {why}")
        return replace(found, unhelped="") if before == self._unhelped else found

    def outside(self) -> list[Wait]:
        """Who could help and does not, and why, by the last plan of this node."""
        return [] if self._unhelped is None else [self._unhelped]
