"""Rows of a node's own links: up or down, round trip time, goodput, bytes of the last seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import msgspec

from muster.node.api.rows.changes import Rows, brief
from muster.node.api.rows.schema import LinkDirection, LinkRow
from muster.node.api.snapshot_builder import rate_of, rtt_of, traffic_of
from muster.node.core import Core
from muster.protocol.ids import NodeId

RATE_WINDOW_S = 3.0


class LinkRows:
    """Remembers every neighbour that there was: a link that was up once stays, as down."""

    def __init__(self, core: Core, names: Callable[[NodeId], str]) -> None:
        self._core, self._names = core, names
        self._traffic: dict[NodeId, deque[tuple[float, int, int]]] = {}
        self._up_s: dict[NodeId, float] = {}

    def rows(self, now_s: float) -> Rows:
        """All links of this node, now."""
        core, me = self._core, self._names(self._core.node)
        near = core.link.neighbours()
        for node in near:
            self._up_s[node] = near[node].since_s
        rows: Rows = {}
        for node, up_s in self._up_s.items():
            up = node in near
            sent, received = traffic_of(core, node)
            there_s, back_s = self._speed(node, now_s, sent, received)
            rtt_s, rate_s = rtt_of(core, node), rate_of(core, node)
            other = self._names(node)
            row = LinkRow(
                id=f"{me}|{other}",
                a=me,
                b=other,
                emulated=False,
                up=up,
                quality=_quality(up, rtt_s),
                rtt_s=None if rtt_s is None else round(rtt_s, 3),
                goodput_bytes_s=None if rate_s is None else brief(rate_s),
                up_t=round(up_s, 1),
                preset=None,
                drop=None,
                there=_direction(up, sent, there_s),
                back=_direction(up, received, back_s),
            )
            rows[row.id] = msgspec.to_builtins(row)
        return rows

    def _speed(self, node: NodeId, now_s: float, sent: int, received: int) -> tuple[float, float]:
        past = self._traffic.setdefault(node, deque())
        past.append((now_s, sent, received))
        while len(past) > 2 and now_s - past[0][0] > RATE_WINDOW_S:
            past.popleft()
        from_s, old_sent, old_received = past[0]
        span_s = max(now_s - from_s, 0.2)
        return brief(max(0, sent - old_sent) / span_s), brief(max(0, received - old_received) / span_s)


def _quality(up: bool, rtt_s: float | None) -> float | None:
    if not up:
        return 0.0
    return None if rtt_s is None else round(200 / (200 + rtt_s * 500), 2)


def _direction(up: bool, count: int, bytes_s: float) -> LinkDirection:
    """Only an emulator knows rate, delay and loss."""
    return LinkDirection(up, None, None, None, None, False, count, bytes_s, None)
