"""What a job waits for and who stays out of it: one kind of fact, a sentence for whoever asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from muster.history.point import Point
from muster.job.context import Context
from muster.job.stop_rule import part_of_each, spent_up
from muster.job.view import JobView
from muster.protocol.ids import NodeId
from muster.protocol.records import Job

NAMES_MAX = 8  # in one sentence
LOOK_S = 3.0  # between two looks at what is waited for
OUTSIDE_MAX = 16  # sentences of nodes that take no part


@dataclass(frozen=True)
class Wait:
    """A fact: what is waited for, or who is not there and why."""

    text: str  # one sentence, and the same as long as the fact is the same
    until_s: float | None = None  # loop time at which the wait ends by itself
    logged: bool = False  # in the log already, by whoever knows it


def said(context: Context, wait: Wait) -> str:
    """A wait as a sentence, with the time of day at which it ends."""
    return wait.text if wait.until_s is None else f"{wait.text}, until {context.clock_time(wait.until_s)}"


class WaitLog:
    """Logs each wait of a job once, when it has lasted for a while."""

    def __init__(self, context: Context, view: JobView) -> None:
        self._context, self._view = context, view
        self._looked_s = context.now()
        self._seen: set[str] = set()  # at the last look,
        self._logged: set[str] = set()  # and what of it is in the log

    def look(self, found: Sequence[Wait]) -> None:
        """Call it again and again with the waits of now."""
        now = self._context.now()
        if now < self._looked_s + LOOK_S:
            return
        present = {wait.text: wait for wait in found if not wait.logged}
        for text, wait in present.items():
            if text in self._seen and text not in self._logged:
                self._context.event("wait", said(self._context, wait), job=self._view.id)
        self._logged = (self._logged | self._seen) & present.keys()
        self._looked_s, self._seen = now, set(present)


def call_for_help(asker: str, job: Job) -> str:
    """Who asks whom for what."""
    if job.like:
        return f"{asker} asks nodes with a like need to adapt {job.task} with it"
    return f"{asker} asks for help with {job.task}"


def names(context: Context, nodes: Iterable[NodeId]) -> str:
    """Names of nodes for a sentence."""
    found = sorted(context.name_of(n) for n in nodes)
    more = f" and {len(found) - NAMES_MAX} more" if len(found) > NAMES_MAX else ""
    return ", ".join(found[:NAMES_MAX]) + more


def at_start(context: Context, view: JobView) -> Wait:
    """No node here has the model that the job begins with."""
    asker = context.name_of(view.asker)
    if view.asker == context.node or context.presence.lively(view.asker):
        return Wait(f"waits for the model that it begins with, from {asker}")
    return Wait(f"waits for the model that it begins with: {asker}, which has it, is out of reach")


def in_round(context: Context, view: JobView, head: Point) -> Wait | None:
    """Nodes out of reach that the round on `head` waits for, as one that does not coordinate knows it."""
    owing: set[NodeId] = set()
    for plan in view.plans.get(head.id, {}).values():
        if plan.author != context.node and not context.presence.lively(plan.author):
            return Wait(f"waits for {context.name_of(plan.author)}, which coordinates and is out of reach")
        owing |= {a.node for a in plan.record.assignments}
    done = {key.node for key, u in view.updates.items() if u.record.base == head.id}
    away = [n for n in owing - done if not context.presence.lively(n)]
    return Wait(f"waits for {names(context, away)}, out of reach") if away else None


def all_pass(view: JobView, head: Point) -> Wait | None:
    """Every node that offered takes no part in the round on `head`; None: one may."""
    reasons = [view.why_not(node, head.round + 1) for node in view.offers]
    if not reasons or None in reasons:
        return None
    return Wait(f"no node takes part in round {head.round + 1}: {reasons[0]}")


def outside(context: Context, view: JobView, head: Point | None) -> list[Wait]:
    """Who takes no part, and why; `head`: the one that goes on here."""
    trust, presence = context.ledger.trust, context.presence
    found = []
    for node, reason in view.refusals.items():
        if node != context.node and not trust.revoked(node):
            found.append(Wait(f"{context.name_of(node)} takes no part: {reason}"))
    round_ = view.round_now() if view.passes else 0
    for node, passed in view.passes.items():
        if passed.round >= round_ and not trust.revoked(node):
            found.append(Wait(f"{context.name_of(node)} takes no part in round {round_}: {passed.reason}"))
    for node in spent_up(view.job.stop, head.spent if head else ()):
        text = f"{context.name_of(node)} is asked for no more: it has spent {part_of_each(view.job.stop)}"
        found.append(Wait(text))
    if presence.cloned:
        found.append(Wait("this node was cloned: another process uses its bundle, and this one acts no more"))
    for node in view.offers:
        name = context.name_of(node)
        if trust.revoked(node):
            found.append(Wait(f"{name} was revoked: {trust.why_revoked(node)}"))
        elif presence.doing(node) == "blocked" and presence.lively(node):
            found.append(Wait(f"{name} waits for room: its disk is full"))
    later = context.ledger.later
    found += [Wait(later.sentence(node, counted=False)) for node in later.authors(view.id)]
    return list(islice(found, OUTSIDE_MAX))
