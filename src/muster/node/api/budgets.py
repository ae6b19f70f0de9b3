"""What a job has spent of what it may spend: a row for each limit, and for each node that has its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muster.history.point import Point
from muster.node.api.snapshot import BudgetView
from muster.node.core import Core

if TYPE_CHECKING:
    from muster.job.runner import JobRunner

NODES_MAX = 64  # rows of nodes


def budgets(core: Core, runner: JobRunner, head: Point | None, age_s: float) -> list[BudgetView]:
    """Limits of the job in time, bytes and energy, with what was spent up to `head`; of nodes that spent most
    first."""
    rule = runner.view.job.stop
    spent = head.spent if head is not None else ()
    found = [
        BudgetView(resource, used, limit)
        for resource, used, limit in (
            ("seconds", age_s, rule.seconds),
            ("bytes", sum(s.bytes for s in spent), rule.bytes),
            ("joules", round(sum(s.joules for s in spent), 3), rule.joules),
        )
        if limit is not None
    ]
    for resource, limit in (("bytes", rule.bytes_node), ("joules", rule.joules_node)):
        if limit is not None:
            used_by = [(round(getattr(s, resource), 3), core.trust.name(s.node)) for s in spent]
            by_most = sorted(used_by, key=lambda one: (-one[0], one[1]))
            found += [BudgetView(resource, used, limit, name) for used, name in by_most[:NODES_MAX]]
    return found
