"""What lies between two simulated nodes: a pipe in each direction, faults, and the current session."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from muster.protocol.ids import NodeId
from muster.simulation.virtual.pipe import Pipe


@dataclass(eq=False)
class Wire:
    """Index 0 is the first of the pair of nodes, 1 the second."""

    ends: tuple[NodeId, NodeId]
    pipes: tuple[Pipe, Pipe]  # pipes[i] leads away from ends[i]
    cut: list[bool] = field(default_factory=lambda: [False, False])
    up: list[bool] = field(default_factory=lambda: [False, False])  # as each end sees it
    session: int = 0
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def index(self, node: NodeId) -> int:
        return self.ends.index(node)
