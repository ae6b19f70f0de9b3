"""Counts what a node sends that nobody can use, and says who is asked later, or not heard for a while.

Each offence is forgotten after `FORGET_S`.  A node with some of them is asked later and later; one that goes
on is cut off: what it says is not heard, and what it asks is refused with the reason, until `CUT_S` are over.
So a node that was mended comes back by itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from muster.protocol.ids import NodeId

FORGET_S = 600.0
THROTTLED_FROM = 8  # offences that are remembered
CUT_FROM = 64
CUT_S = 600.0
PAUSE_MAX_S = 30.0
NODES_MAX = 512  # of which offences are remembered
REFUSAL = "this node sent too much that nobody can use: it is heard again in some minutes"


@dataclass
class _Conduct:
    at_s: deque[float] = field(default_factory=lambda: deque(maxlen=CUT_FROM))
    cut_until_s: float = 0.0


class Offences:
    """What is remembered of each node, by the running loop's clock."""

    def __init__(
        self,
        name_of: Callable[[NodeId], str] = bytes.hex,
        on_problem: Callable[[str], None] = lambda sentence: None,
        *,
        consequence: str = "{name} is not heard",
    ) -> None:
        """`on_problem` gets a sentence when a node is cut off: what follows for it, for how long and why."""
        self._name_of, self._on_problem, self._consequence = name_of, on_problem, consequence
        self._known: dict[NodeId, _Conduct] = {}

    def add(self, node: NodeId, sentence: str) -> bool:
        """Count one, which `sentence` describes; whether the node is cut off from now on because of it."""
        now_s, known = _now_s(), self._known.get(node)
        if known is None:
            while len(self._known) >= NODES_MAX:
                del self._known[next(iter(self._known))]
            known = self._known[node] = _Conduct()
        known.at_s.append(now_s)
        if self._recent(known, now_s) < CUT_FROM or known.cut_until_s > now_s:
            return False
        known.cut_until_s = now_s + CUT_S
        known.at_s.clear()
        said = self._consequence.format(name=self._name_of(node))
        self._on_problem(f"{said} for {CUT_S:.0f} s: it sends what nobody can use ({sentence})")
        return True

    def cut(self, node: NodeId) -> bool:
        """Whether a node is not heard now."""
        known = self._known.get(node)
        return known is not None and known.cut_until_s > _now_s()

    def pause_s(self, node: NodeId) -> float:
        """How long to wait before the node is asked again."""
        known = self._known.get(node)
        if known is None:
            return 0.0
        now_s = _now_s()
        if known.cut_until_s > now_s:
            return known.cut_until_s - now_s
        return min(PAUSE_MAX_S, max(0.0, 1.0 + self._recent(known, now_s) - THROTTLED_FROM))

    def _recent(self, known: _Conduct, now_s: float) -> int:
        while known.at_s and known.at_s[0] < now_s - FORGET_S:
            known.at_s.popleft()
        return len(known.at_s)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
