"""Decides how long the first round waits for offers.

Most of the nodes are waited for, the last few are not; a node that comes later joins the next round.
"""

from __future__ import annotations

from muster.job.context import Context
from muster.job.coordinator.reach import Reach
from muster.job.view import JobView
from muster.job.waits import Wait, names
from muster.protocol.ids import NodeId

LATELY_S = 180.0  # three heartbeats of an idle node
OFFER_GRACE_S = 20.0  # after the last offer, for nodes that have not answered yet, while they are the most
# For the last few: so many of the longest gap between two offers, times the part that is missing.
LAST_GAPS = 6.0
GAP_MIN_S = 1.0


class OfferWindow:
    """The time in which one job's offers are awaited."""

    def __init__(self, context: Context, view: JobView, reach: Reach) -> None:
        self._context, self._view, self._reach = context, view, reach
        self._count = 0
        self._offered_s = context.now()  # when the last offer came
        self._since_s = context.now()  # since when no node is known to be preparing an offer
        self._gap_s = 0.0  # the longest between two offers, but for the first one

    def wait_s(self) -> float:
        """Seconds that the round has to wait yet; 0 or less: it may begin."""
        offers, now = self._view.offers, self._context.now()
        if len(offers) != self._count:
            if self._count > 1:
                self._gap_s = max(self._gap_s, now - self._offered_s)
            self._count, self._offered_s, self._since_s = len(offers), now, now
        asked = [n for n in self._lately_heard() if n not in self._view.refusals]
        silent = [n for n in asked if n not in offers]
        if not silent:
            return 0.0
        if len(silent) < len(asked) / 2:
            wait_s = LAST_GAPS * max(GAP_MIN_S, self._gap_s) * len(silent) / len(asked)
            return self._offered_s + min(OFFER_GRACE_S, wait_s) - now
        if any(self._context.presence.doing(n) == "preparing" and self._reach.reachable(n) for n in silent):
            self._since_s = now  # starting a trainer takes its time
        return self._since_s + OFFER_GRACE_S - now

    def awaited(self) -> Wait | None:
        """That other nodes may answer and have not."""
        context, answered = self._context, {self._context.node, *self._view.offers, *self._view.refusals}
        silent = [n for n in self._lately_heard() if n not in answered]
        if not silent:
            return None
        starting = [n for n in silent if context.presence.doing(n) == "preparing"]
        text = f"waits for the answers of {names(context, silent)}"
        return Wait(f"{text}; the trainer of {names(context, starting)} is starting" if starting else text)

    def _lately_heard(self) -> list[NodeId]:
        """Members that may answer a call for help: idle nodes send few heartbeats, so this looks far back."""
        ages = {n: self._context.presence.age_s(n) for n in self._context.ledger.trust.members()}
        return [n for n, age_s in ages.items() if age_s is not None and age_s < LATELY_S]
