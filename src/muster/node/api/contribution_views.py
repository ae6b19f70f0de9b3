"""What each node gave to a job, as the snapshot shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muster.history.counted import Key
from muster.history.point import Point
from muster.job.contribution_totals import NodeTotals, values_of
from muster.job.models.payloads import payload_held
from muster.node.api.snapshot import ContributionView, ValuesView
from muster.node.core import Core
from muster.protocol.ids import NodeId

if TYPE_CHECKING:
    from muster.job.runner import JobRunner


def contributions(core: Core, runner: JobRunner, head: Point | None) -> list[ContributionView]:
    """A row a node: those that offered in the order of their offers, then others whose updates came."""
    if head is None:
        return []
    view = runner.view
    given, _ = runner.contribution_totals.at(head)
    spent = {s.node: s for s in head.spent}
    waiting: dict[NodeId, list[int]] = {}  # the bytes of each
    for key, update in view.updates.items():
        if Key(*key) not in head.counted:
            waiting.setdefault(key.node, []).append(update.record.payload.size_bytes)
    examples = sum(g.examples for g in given.values()) or 1
    size = sum(abs(g.value or 0.0) for g in given.values()) or 1.0
    rows = []
    for node in {**dict.fromkeys(view.offers), **dict.fromkeys(given)}:
        g, left = given.get(node, NodeTotals()), waiting.get(node, [])
        shared = view.shared.get(node)
        rows.append(
            ContributionView(
                node=core.trust.name(node),
                id=node.hex(),
                samples=view.offers[node].samples if node in view.offers else 0,
                steps=g.steps,
                examples=g.examples,
                updates_counted=g.counted,
                updates_waiting=len(left),
                updates_late=g.late,
                updates_refused=sum(g.refused.values()),
                share=g.examples / examples,
                sent_bytes=max(0, (spent[node].bytes if node in spent else 0) - g.received_bytes) + sum(left),
                joules=round(spent[node].joules, 3) or None if node in spent else None,
                received_bytes=g.received_bytes,
                refused_why=dict(g.refused),
                value=g.value,
                value_share=None if g.value is None else g.value / size,
                stood_in=g.stood_in,
                shared_bytes=shared.payload.size_bytes if shared else 0,
                shared_held=shared is not None and payload_held(core.store, shared.payload),
            )
        )
    return rows


def values(runner: JobRunner, head: Point | None) -> ValuesView | None:
    """The check of the values of the head's history; None before its first round."""
    if head is None:
        return None
    _, total = runner.contribution_totals.at(head)
    if not total.rounds:
        return None
    return ValuesView(total.rounds, total.valued, total.predicted, total.drop, total.examples, total.common)


def checked(runner: JobRunner, point: Point) -> tuple[float | None, float | None]:
    """Of one commit: what its updates' values add up to, and the true drop of the loss; None: not valued."""
    worth, record = values_of(runner.view, point), runner.view.values(point.id)
    return (None, None) if worth is None or record is None else (sum(worth), record.drop)
