"""Counts what neighbours send that nobody can use, and says who is asked later, or not heard for a while.

Each offence is forgotten after `FORGET_S`.  A neighbour with some of them is asked later and later; one that
goes on is cut off: what it announces is not heard, and what it asks is refused with the reason, until `CUT_S`
are over.  So a node that was mended comes back by itself.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from muster.protocol.records import NodeId

FORGET_S = 600.0
THROTTLED_FROM = 8  # offences that are remembered
CUT_FROM = 64
CUT_S = 600.0
PAUSE_MAX_S = 30.0
NEIGHBOURS_MAX = 512  # of which offences are remembered


@dataclass
class _Conduct:
    at_s: deque[float] = field(default_factory=lambda: deque(maxlen=CUT_FROM))
    cut_until_s: float = 0.0


class Offences:
    """What is remembered of each neighbour; times are the caller's."""

    def __init__(self) -> None:
        self._known: dict[NodeId, _Conduct] = {}

    def add(self, node: NodeId, now_s: float) -> bool:
        """Count one; whether the neighbour is cut off from now on because of it."""
        known = self._known.get(node)
        if known is None:
            while len(self._known) >= NEIGHBOURS_MAX:
                del self._known[next(iter(self._known))]
            known = self._known[node] = _Conduct()
        known.at_s.append(now_s)
        if self._recent(known, now_s) < CUT_FROM or known.cut_until_s > now_s:
            return False
        known.cut_until_s = now_s + CUT_S
        known.at_s.clear()
        return True

    def cut(self, node: NodeId, now_s: float) -> bool:
        """Whether a neighbour is not heard now."""
        known = self._known.get(node)
        return known is not None and known.cut_until_s > now_s

    def pause_s(self, node: NodeId, now_s: float) -> float:
        """How long to wait before the neighbour is asked again."""
        known = self._known.get(node)
        if known is None:
            return 0.0
        if known.cut_until_s > now_s:
            return known.cut_until_s - now_s
        return min(PAUSE_MAX_S, max(0.0, 1.0 + self._recent(known, now_s) - THROTTLED_FROM))

    def _recent(self, known: _Conduct, now_s: float) -> int:
        while known.at_s and known.at_s[0] < now_s - FORGET_S:
            known.at_s.popleft()
        return len(known.at_s)
