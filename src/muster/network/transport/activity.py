"""What is seen of the sessions that talk to this node: bytes, times, and sessions that are no neighbours.

The watchdog goes by it.  Nothing here reads a clock.
"""

from __future__ import annotations

from muster.protocol.ids import NodeId

HALF_OPEN_S = 10.0  # a session that talks to us for so long without being a neighbour has half a link to us
SILENT_S = 60.0  # an unknown session that was silent for so long counts as a new one
UNKNOWN_MAX = 64


class PeerActivity:
    """Keeps, for each node, when it was heard, what it left unanswered, and how much was moved."""

    def __init__(self) -> None:
        self._heard_s: dict[NodeId, float] = {}
        self._unanswered_s: dict[NodeId, float] = {}
        self._bytes: dict[NodeId, tuple[int, int]] = {}
        self.total = (0, 0)  # bytes sent to and received from all nodes

    def add_sent(self, node: NodeId, size_bytes: int) -> None:
        sent, received = self.bytes(node)
        self._bytes[node] = (sent + size_bytes, received)
        self.total = (self.total[0] + size_bytes, self.total[1])

    def add_received(self, node: NodeId, size_bytes: int, now_s: float) -> None:
        sent, received = self.bytes(node)
        self._bytes[node] = (sent, received + size_bytes)
        self.total = (self.total[0], self.total[1] + size_bytes)
        self._heard_s[node] = now_s

    def came(self, node: NodeId, since_s: float) -> None:
        """It is a neighbour since `since_s`: that counts as a sign of life."""
        self._heard_s[node] = since_s

    def left_unanswered(self, node: NodeId, now_s: float) -> None:
        self._unanswered_s[node] = now_s

    def bytes(self, node: NodeId) -> tuple[int, int]:
        """Application bytes (sent, received) to and from a node."""
        return self._bytes.get(node, (0, 0))

    def heard_s(self, node: NodeId) -> float | None:
        """When its last message of any kind came; None if there was none yet."""
        return self._heard_s.get(node)

    def unanswered_s(self, node: NodeId) -> float | None:
        """When it last left a request unanswered; None if it never did."""
        return self._unanswered_s.get(node)


class UnknownSessions:
    """Sessions that talk to this node without being its neighbours: who goes on doing so has half a link."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, float]] = {}  # tag: since when, and when last
        self.half_open = False  # whether somebody takes this node for a neighbour that is none of its own

    def heard(self, tag: str, now_s: float) -> None:
        since_s, last_s = self._seen.pop(tag, (now_s, now_s))
        if now_s - last_s > SILENT_S:
            since_s = now_s
        if len(self._seen) >= UNKNOWN_MAX:
            del self._seen[next(iter(self._seen))]  # the one that was heard longest ago
        self._seen[tag] = (since_s, now_s)
        if now_s - since_s >= HALF_OPEN_S:
            self.half_open = True

    def forget(self, tag: str) -> None:
        """It is a neighbour now."""
        self._seen.pop(tag, None)

    def clear(self) -> None:
        """This node has a new session, so nobody can have half a link to it."""
        self._seen.clear()
        self.half_open = False
