"""The wires between simulated nodes, their faults, and who is in session with whom, in virtual time.

As with the real engine a link that is cut is noticed only after a lease; until then what was sent waits,
and a short cut only delays it.  After a lease the session is over: pending questions are Unreachable,
the neighbour is gone, and a moment after the link is whole again it is back in a new session.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from muster.protocol.ids import NodeId
from muster.simulation.virtual.link import SimLink
from muster.simulation.virtual.pipe import PathParams, Pipe
from muster.simulation.virtual.wire import Wire


@dataclass(frozen=True)
class Timing:
    """How the engine notices neighbours."""

    lease_s: float = 10.0  # a dead link is noticed after lease_s .. 1.2 lease_s
    connect_s: float = 0.5  # a whole link is up after connect_s .. 2 connect_s


class SimNetwork:
    """Nodes, links between them and their faults. Every method but the constructor needs a running loop."""

    def __init__(self, rng: random.Random, timing: Timing | None = None) -> None:
        self.rng = rng
        self._timing = timing or Timing()
        self._wires: dict[tuple[NodeId, NodeId], Wire] = {}
        self._by_node: dict[NodeId, dict[NodeId, Wire]] = {}
        self._links: dict[NodeId, SimLink] = {}  # those that are started
        self.context = contextvars.Context()  # the network's own timers belong to no node

    # building

    def link(self, node: NodeId, name: str = "") -> SimLink:
        """A node's engine; make a new one for a node that starts again."""
        return SimLink(self, node, name or node[:4].hex())

    def connect(
        self, a: NodeId, b: NodeId, there: PathParams | None = None, back: PathParams | None = None
    ) -> None:
        """Lay a link from a to b (`there`) and from b to a (`back`, the same when not given)."""
        assert a != b, "a node has no link to itself"
        assert (a, b) not in self._wires, "these nodes have a link already: use set"
        there = there or PathParams()
        wire = Wire((a, b), (Pipe(self.rng, there), Pipe(self.rng, back or there)))
        self._wires[a, b] = self._wires[b, a] = wire
        self._by_node.setdefault(a, {})[b] = wire
        self._by_node.setdefault(b, {})[a] = wire
        self._settle(wire)

    def neighbours_of(self, node: NodeId) -> list[NodeId]:
        """The nodes that a node has a wire to, up or not."""
        return list(self._by_node.get(node, {}))

    def carried_bytes(self, a: NodeId, b: NodeId) -> int:
        """Bytes put on the link from a to b so far, overhead included."""
        wire = self._wires[a, b]
        return wire.pipes[wire.index(a)].carried_bytes

    def params(self, a: NodeId, b: NodeId) -> PathParams:
        wire = self._wires[a, b]
        return wire.pipes[wire.index(a)].params

    def contact(self, a: NodeId, b: NodeId) -> bool:
        """Whether both ends of a link see each other."""
        wire = self._wires.get((a, b))
        return wire is not None and all(wire.up) and not any(wire.cut)

    # faults

    def set(self, a: NodeId, b: NodeId, params: PathParams, *, one_direction: bool = False) -> None:
        """New parameters from a to b, and from b to a unless `one_direction`; the queue goes on with them."""
        wire = self._wires[a, b]
        for index, pipe in enumerate(wire.pipes):
            if not one_direction or index == wire.index(a):
                pipe.change(params)

    def cut(self, a: NodeId, b: NodeId, *, one_direction: bool = False) -> None:
        self.set_cut(a, b, True, one_direction=one_direction)

    def heal(self, a: NodeId, b: NodeId, *, one_direction: bool = False) -> None:
        self.set_cut(a, b, False, one_direction=one_direction)

    def isolate(self, node: NodeId) -> None:
        """Cut every link of a node."""
        for other in self._by_node.get(node, {}):
            self.cut(node, other)

    def rejoin(self, node: NodeId) -> None:
        for other in self._by_node.get(node, {}):
            self.heal(node, other)

    def partition(self, *groups: Iterable[NodeId]) -> None:
        """Cut the links between groups and heal those inside; nodes in no group are left as they are."""
        of = {node: number for number, group in enumerate(groups) for node in group}
        for wire in self._each_wire():
            a, b = wire.ends
            if a in of and b in of:
                self.set_cut(a, b, of[a] != of[b])

    def heal_all(self) -> None:
        for wire in self._each_wire():
            self.heal(*wire.ends)

    def _each_wire(self) -> list[Wire]:
        return [wire for pair, wire in self._wires.items() if pair == wire.ends]

    def set_cut(self, a: NodeId, b: NodeId, cut: bool, *, one_direction: bool = False) -> bool:
        """Cut or heal a link; whether that changed anything."""
        wire = self._wires[a, b]
        changed = False
        for index, pipe in enumerate(wire.pipes):
            if (one_direction and index != wire.index(a)) or wire.cut[index] == cut:
                continue
            wire.cut[index], changed = cut, True
            if cut:
                pipe.hold()
            else:
                pipe.release()
        if changed:
            self._settle(wire)
        return changed

    # sessions

    def _whole(self, wire: Wire) -> bool:
        return not any(wire.cut) and all(end in self._links for end in wire.ends)

    def _settle(self, wire: Wire) -> None:
        """After a change of this wire: set the timers for what its ends will notice."""
        for timer in wire.timers:
            timer.cancel()
        wire.timers.clear()
        if not any(end in self._links for end in wire.ends):
            wire.up = [False, False]
            return
        loop = asyncio.get_running_loop()
        if not self._whole(wire):
            for index in (0, 1):
                if wire.up[index]:
                    wait_s = self._timing.lease_s * (1 + 0.2 * self.rng.random())
                    timer = loop.call_later(wait_s, self._lose, wire, index, context=self.context)
                    wire.timers.append(timer)
        elif not all(wire.up):
            wait_s = self._timing.connect_s * (1 + self.rng.random())
            wire.timers.append(loop.call_later(wait_s, self._open, wire, context=self.context))

    def _open(self, wire: Wire) -> None:
        """Begin a new session; an end that still has the old one sees it end first."""
        for index in (0, 1):
            self._lose(wire, index)
        wire.session += 1
        for pipe in wire.pipes:
            pipe.flush()
        wire.up = [True, True]
        one, other = (self._links[end] for end in wire.ends)
        for link, neighbour in ((one, other), (other, one)):
            if self._links.get(link.node) is link:  # it may have died of what the first one heard
                _heard_by(link.came, neighbour.node, neighbour.name)

    def _lose(self, wire: Wire, index: int) -> None:
        if not wire.up[index]:
            return
        wire.up[index] = False
        wire.pipes[index].flush()
        link = self._links.get(wire.ends[index])
        if link is not None:
            _heard_by(link.went, wire.ends[1 - index])

    def attach(self, link: SimLink) -> None:
        assert link.node not in self._links, "this node has a started link already"
        self._links[link.node] = link
        for wire in self._by_node.get(link.node, {}).values():
            self._settle(wire)

    def detach(self, link: SimLink, goodbye: bool) -> None:
        if self._links.get(link.node) is not link:
            return
        del self._links[link.node]
        for wire in self._by_node.get(link.node, {}).values():
            mine = wire.index(link.node)
            wire.up[mine] = False
            for pipe in wire.pipes:
                pipe.flush()
            if goodbye and not any(wire.cut):
                self._lose(wire, 1 - mine)
            self._settle(wire)

    def kill(self, node: NodeId) -> None:
        """The node's process dies: no goodbye, its neighbours notice after a lease."""
        link = self._links.get(node)
        if link is not None:
            self.detach(link, goodbye=False)
            link.end()

    def renew(self, node: NodeId) -> None:
        """The node's engine opens a new session: its links are gone for it at once, for others when they open
        again or a lease is over; nothing in flight arrives."""
        for wire in self._by_node.get(node, {}).values():
            for pipe in wire.pipes:
                pipe.flush()
            self._lose(wire, wire.index(node))
            self._settle(wire)

    def session(self, a: NodeId, b: NodeId) -> tuple[Wire, Pipe] | None:
        """The wire from a to b, if a believes that it is up."""
        wire = self._wires.get((a, b))
        if wire is None or not wire.up[wire.index(a)] or a not in self._links:
            return None
        return wire, wire.pipes[wire.index(a)]

    def live(self, wire: Wire, session: int, node: NodeId) -> SimLink | None:
        """Where something sent in `session` arrives; None when that session is over for its receiver."""
        if wire.session != session or not wire.up[wire.index(node)]:
            return None
        return self._links.get(node)


def _heard_by(listener: Callable[..., None], *news: Any) -> None:
    """Tell one end of a wire: its own fault there, such as a write that fails, is none of the network's."""
    try:
        listener(*news)
    except (Exception, asyncio.CancelledError) as error:  # the latter: it was killed at a write
        asyncio.get_running_loop().call_exception_handler({"message": str(error), "exception": error})
