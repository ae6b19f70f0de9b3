"""What a job has spent and what it may spend, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muster.cli.output import energy, size, span

if TYPE_CHECKING:
    from muster.node.api.snapshot import BudgetView, JobSnapshot

SHOW = {"seconds": span, "bytes": size, "joules": energy}


def cell(view: JobSnapshot, resource: str, spent: float | None) -> str:
    """What was spent, and of how much where that is limited: "12.3 kB of 20 kB"."""
    show = SHOW[resource]
    limit = next((b.limit for b in view.budgets if b.resource == resource and b.node is None), None)
    return show(spent) if limit is None else f"{show(spent)} of {show(limit)}"


def so_far(view: JobSnapshot) -> str:
    """Bytes and energy of a job: "12.3 kB of 20 kB sent, 40 J used"."""
    text = f"{cell(view, 'bytes', view.spent_bytes)} sent"
    limited = any(b.resource == "joules" and b.node is None for b in view.budgets)
    if view.joules is not None or limited:
        text += f", {cell(view, 'joules', view.joules)} used"
    return text


def by_node(view: JobSnapshot) -> list[str]:
    """A line for each resource of which every node has its part: who spent most, who has none left."""
    lines = []
    for resource in ("bytes", "joules"):
        parts = [b for b in view.budgets if b.resource == resource and b.node is not None]
        if parts:
            lines.append(_of_nodes(resource, parts))
    return lines


def _of_nodes(resource: str, parts: list[BudgetView]) -> str:
    show, most = SHOW[resource], parts[0]
    gone = [part.node or "" for part in parts if part.spent >= part.limit]
    text = f"each node may spend {show(most.limit)}: {most.node} has spent most, {show(most.spent)}"
    return f"{text}; nothing is left to {', '.join(gone)}" if gone else text
