"""Which nodes can be reached, by their heartbeats, and which of them may coordinate."""

from __future__ import annotations

from muster.job.context import Context
from muster.job.coordinator.state import CoordinatorState
from muster.job.view import JobView
from muster.protocol.ids import NodeId


class Reach:
    """Judges nodes by their heartbeats and the job's `patience_s`."""

    def __init__(self, context: Context, view: JobView, state: CoordinatorState) -> None:
        self._context, self._view, self._state = context, view, state

    def reachable(self, node: NodeId) -> bool:
        """Whether a heartbeat came within `patience_s`, or as often as the node's links let it send."""
        age_s = self._context.presence.age_s(node)
        if age_s is None:
            return False
        return age_s <= self._view.job.patience_s or self._context.presence.lively(node)

    def able(self, node: NodeId) -> bool:
        """Whether the node could coordinate: it is reachable and does not report a full disk."""
        if node == self._context.node:
            return not self._state.blocked
        return self.reachable(node) and self._context.presence.doing(node) != "blocked"
