"""What is said when a node's view of its model in use changes: pure functions."""

from __future__ import annotations

from muster.cli.demo.stories.story import both
from muster.node.api.field_view import FieldView

WHY = {
    "first": "the first model",
    "adopted": "it is better on labels that were held out",
    "forced": "a person forced it",
    "returned": "the former model answered new labels better",
    "rolled back": "a person took it back",
}


def news(before: FieldView | None, now: FieldView) -> list[str]:
    """The lines of one node, since it was looked at last."""
    lines: list[str] = []
    if now.version is not None and (before is None or before.version != now.version):
        lines.append(f"{now.node} uses {now.version}: {WHY.get(now.reason, now.reason)}{_held(now)}")
    if now.labels_wanted and not (before is not None and before.labels_wanted) and not now.need:
        lines.append(f"{now.node} notices a change: {now.waits}")
    if now.need == "open" and (before is None or before.need != "open"):
        lines.append(f"{now.node} tells that its model fails there, with a sketch of what it sees")
    if set(now.alike) - set(before.alike if before is not None else ()):
        lines.append(f"the same happened to {both((now.node, *now.alike))}")
    if now.job is not None and (before is None or before.job != now.job):
        lines.append(f"{now.node} takes part in the job {now.job[:8]}")
    return lines


def _held(view: FieldView) -> str:
    if view.reason != "adopted" or not view.held_labels:
        return ""
    return f" ({view.wins} of {view.held_labels} by it alone, {view.losses} by the former alone)"
