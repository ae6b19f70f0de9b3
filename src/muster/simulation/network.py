"""A network in virtual time: `SimLink` is the link interface over links whose faults are set by methods.

As with the real engine a link that is cut is noticed only after a lease; until then what was sent waits,
and a short cut only delays it.  After a lease the session is over: questions under way are Unreachable,
the neighbour is gone, and a moment after the link is whole again it is back in a new session.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from muster.network.link import Handler, Listener, Neighbour, Refused, Unreachable, Urgency, Watcher
from muster.records import NodeId
from muster.simulation.pipe import PathParams, Pipe

ANSWER_BYTES_MAX = 64 * 1024
NUDGE_BYTES_MAX = 64 * 1024

__all__ = ["PathParams", "SimLink", "SimNetwork", "Timing"]


@dataclass(frozen=True)
class Timing:
    """How the engine notices neighbours."""

    lease_s: float = 10.0  # a dead link is noticed after lease_s .. 1.2 lease_s
    connect_s: float = 0.5  # a whole link is up after connect_s .. 2 connect_s


@dataclass(eq=False)
class _Wire:
    """What lies between two nodes. Index 0 is the first of the pair, 1 the second."""

    ends: tuple[NodeId, NodeId]
    pipes: tuple[Pipe, Pipe]  # pipes[i] leads away from ends[i]
    cut: list[bool] = field(default_factory=lambda: [False, False])
    up: list[bool] = field(default_factory=lambda: [False, False])  # as each end sees it
    session: int = 0
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def index(self, node: NodeId) -> int:
        return self.ends.index(node)


class SimNetwork:
    """Nodes, links between them and their faults. Every method but the constructor needs a running loop."""

    def __init__(self, rng: random.Random, timing: Timing | None = None) -> None:
        self._rng = rng
        self._timing = timing or Timing()
        self._wires: dict[tuple[NodeId, NodeId], _Wire] = {}
        self._by_node: dict[NodeId, dict[NodeId, _Wire]] = {}
        self._links: dict[NodeId, SimLink] = {}  # those that are started
        self._context = contextvars.Context()  # the network's own timers belong to no node

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
        wire = _Wire((a, b), (Pipe(self._rng, there), Pipe(self._rng, back or there)))
        self._wires[a, b] = self._wires[b, a] = wire
        self._by_node.setdefault(a, {})[b] = wire
        self._by_node.setdefault(b, {})[a] = wire
        self._settle(wire)

    def neighbours_of(self, node: NodeId) -> list[NodeId]:
        """To whom links were laid from a node, up or not."""
        return list(self._by_node.get(node, {}))

    def carried_bytes(self, a: NodeId, b: NodeId) -> int:
        """Bytes put on the link from a to b so far, overhead included."""
        wire = self._wires[a, b]
        return wire.pipes[wire.index(a)].carried_bytes

    def params(self, a: NodeId, b: NodeId) -> PathParams:
        wire = self._wires[a, b]
        return wire.pipes[wire.index(a)].params

    # faults

    def set(self, a: NodeId, b: NodeId, params: PathParams, *, one_way: bool = False) -> None:
        """New parameters from a to b, and from b to a unless `one_way`; what is queued goes on with them."""
        wire = self._wires[a, b]
        for index, pipe in enumerate(wire.pipes):
            if not one_way or index == wire.index(a):
                pipe.change(params)

    def cut(self, a: NodeId, b: NodeId, *, one_way: bool = False) -> None:
        self._set_cut(a, b, True, one_way)

    def heal(self, a: NodeId, b: NodeId, *, one_way: bool = False) -> None:
        self._set_cut(a, b, False, one_way)

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
                self._set_cut(a, b, of[a] != of[b], False)

    def heal_all(self) -> None:
        for wire in self._each_wire():
            self.heal(*wire.ends)

    def _each_wire(self) -> list[_Wire]:
        return [wire for pair, wire in self._wires.items() if pair == wire.ends]

    def _set_cut(self, a: NodeId, b: NodeId, cut: bool, one_way: bool) -> None:
        wire = self._wires[a, b]
        for index, pipe in enumerate(wire.pipes):
            if (one_way and index != wire.index(a)) or wire.cut[index] == cut:
                continue
            wire.cut[index] = cut
            if cut:
                pipe.hold()
            else:
                pipe.release()
        self._settle(wire)

    # sessions

    def _whole(self, wire: _Wire) -> bool:
        return not any(wire.cut) and all(end in self._links for end in wire.ends)

    def _settle(self, wire: _Wire) -> None:
        """Something about this wire changed: plan what its ends will notice, and when."""
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
                    wait_s = self._timing.lease_s * (1 + 0.2 * self._rng.random())
                    timer = loop.call_later(wait_s, self._lose, wire, index, context=self._context)
                    wire.timers.append(timer)
        elif not all(wire.up):
            wait_s = self._timing.connect_s * (1 + self._rng.random())
            wire.timers.append(loop.call_later(wait_s, self._open, wire, context=self._context))

    def _open(self, wire: _Wire) -> None:
        """A new session; an end that still held the old one sees it end first."""
        for index in (0, 1):
            self._lose(wire, index)
        wire.session += 1
        for pipe in wire.pipes:
            pipe.flush()
        wire.up = [True, True]
        for index in (0, 1):
            self._links[wire.ends[index]]._came(wire.ends[1 - index], self._links[wire.ends[1 - index]].name)

    def _lose(self, wire: _Wire, index: int) -> None:
        if not wire.up[index]:
            return
        wire.up[index] = False
        wire.pipes[index].flush()
        link = self._links.get(wire.ends[index])
        if link is not None:
            link._went(wire.ends[1 - index])

    def _attach(self, link: SimLink) -> None:
        assert link.node not in self._links, "this node has a started link already"
        self._links[link.node] = link
        for wire in self._by_node.get(link.node, {}).values():
            self._settle(wire)

    def _detach(self, link: SimLink, goodbye: bool) -> None:
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
            self._detach(link, goodbye=False)
            link._end()

    def _session(self, a: NodeId, b: NodeId) -> tuple[_Wire, Pipe] | None:
        """The wire from a to b, if a believes that it is up."""
        wire = self._wires.get((a, b))
        if wire is None or not wire.up[wire.index(a)] or a not in self._links:
            return None
        return wire, wire.pipes[wire.index(a)]

    def _live(self, wire: _Wire, session: int, node: NodeId) -> SimLink | None:
        """Where something sent in `session` arrives; None when that session is over for its receiver."""
        if wire.session != session or not wire.up[wire.index(node)]:
            return None
        return self._links.get(node)


class SimLink:
    """See `network.link.Link`. `sent_bytes`/`received_bytes` count payloads a neighbour, as the real one."""

    def __init__(self, network: SimNetwork, node: NodeId, name: str) -> None:
        self.node = node
        self.name = name
        self._network = network
        self._neighbours: dict[NodeId, Neighbour] = {}
        self._watchers: list[Watcher] = []
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, Listener] = {}
        self._forbidden: set[NodeId] = set()
        self._asks: dict[NodeId, dict[asyncio.Future[bytes], None]] = {}
        self._tasks: dict[asyncio.Task[None], None] = {}  # answers being made; a dict for its order
        self._context = contextvars.copy_context()  # of the node: what arrives is dealt with there

    async def start(self) -> None:
        self._context = contextvars.copy_context()
        self._network._attach(self)

    async def close(self) -> None:
        """Say goodbye: neighbours notice at once."""
        self._network._detach(self, goodbye=True)
        self._end()

    def _end(self) -> None:
        for node in list(self._neighbours):
            self._went(node)
        for task in list(self._tasks):
            task.cancel()

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return dict(self._neighbours)

    def forbid(self, node: NodeId) -> None:
        self._forbidden.add(node)
        self._went(node)

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def serve(self, topic: str, handler: Handler) -> None:
        self._handlers[topic] = handler

    def listen(self, topic: str, listener: Listener) -> None:
        self._listeners[topic] = listener

    def _came(self, node: NodeId, name: str) -> None:
        if node in self._forbidden:
            return
        self._neighbours[node] = Neighbour(node, name, asyncio.get_running_loop().time())
        self._tell(node, True)

    def _tell(self, node: NodeId, up: bool) -> None:
        for watcher in self._watchers:
            self._context.copy().run(watcher, node, up)

    def _went(self, node: NodeId) -> None:
        if self._neighbours.pop(node, None) is None:
            return
        for future in self._asks.pop(node, {}):
            if not future.done():
                future.set_exception(Unreachable("the link was lost"))
        self._tell(node, False)

    async def ask(
        self,
        node: NodeId,
        topic: str,
        payload: bytes,
        *,
        timeout_s: float,
        urgency: Urgency = Urgency.CONTROL,
    ) -> bytes:
        found = self._network._session(self.node, node)
        if found is None or node in self._forbidden:
            raise Unreachable("no such neighbour is up")
        wire, pipe = found
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        session = wire.session

        def arrive() -> None:
            link = self._network._live(wire, session, node)
            if link is None or self.node in link._forbidden:
                return
            if self._network._rng.random() >= pipe.params.ask_loss:
                link._answer(wire, session, self.node, topic, payload, urgency, future)

        size_bytes = len(payload) + len(topic) + pipe.params.overhead_bytes
        if not pipe.send(size_bytes, urgency, arrive):
            raise Unreachable("the link's queue is full")
        asks = self._asks.setdefault(node, {})
        asks[future] = None
        timer = loop.call_later(timeout_s, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()
            asks.pop(future, None)

    def _answer(
        self,
        wire: _Wire,
        session: int,
        asker: NodeId,
        topic: str,
        payload: bytes,
        urgency: Urgency,
        future: asyncio.Future[bytes],
    ) -> None:
        task = asyncio.get_running_loop().create_task(
            self._make_answer(wire, session, asker, topic, payload, urgency, future), context=self._context
        )
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _make_answer(
        self,
        wire: _Wire,
        session: int,
        asker: NodeId,
        topic: str,
        payload: bytes,
        urgency: Urgency,
        future: asyncio.Future[bytes],
    ) -> None:
        answer: bytes | Exception
        handler = self._handlers.get(topic)
        if handler is None:
            answer = Unreachable(f"nobody answers {topic!r} there")
        else:
            try:
                answer = await handler(asker, payload)
                assert len(answer) <= ANSWER_BYTES_MAX, f"an answer of {len(answer)} bytes"
            except Refused as refusal:
                answer = refusal
            except Exception as error:  # a fault in the handler: the asker gets nothing, the test hears of it
                asyncio.get_running_loop().call_exception_handler({"message": topic, "exception": error})
                answer = Unreachable("the neighbour failed to answer")
        if self._network._live(wire, session, self.node) is not self:
            return
        pipe = wire.pipes[wire.index(self.node)]

        def arrive() -> None:
            link = self._network._live(wire, session, asker)
            if future.done() or link is None or self._network._rng.random() < pipe.params.ask_loss:
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        text = str(answer).encode() if isinstance(answer, Exception) else answer
        pipe.send(len(text) + pipe.params.overhead_bytes, urgency, arrive)

    def nudge(self, node: NodeId, topic: str, payload: bytes) -> None:
        found = self._network._session(self.node, node)
        if found is None or node in self._forbidden or len(payload) > NUDGE_BYTES_MAX:
            return
        wire, pipe = found
        rng, params, session = self._network._rng, pipe.params, wire.session
        if pipe.held or (params.nudge_loss and rng.random() < params.nudge_loss):
            return
        if params.nudge_corrupt and payload and rng.random() < params.nudge_corrupt:
            damaged = bytearray(payload)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            payload = bytes(damaged)

        def hear() -> None:
            link = self._network._live(wire, session, node)
            if link is None or self.node in link._forbidden:
                return
            listener = link._listeners.get(topic)
            if listener is not None:
                asyncio.get_running_loop().call_soon(listener, self.node, payload, context=link._context)

        def arrive() -> None:
            if params.nudge_reorder and rng.random() < params.nudge_reorder:
                asyncio.get_running_loop().call_later(rng.random(), hear, context=self._network._context)
            else:
                hear()
            if params.nudge_duplicate and rng.random() < params.nudge_duplicate:
                asyncio.get_running_loop().call_later(rng.random(), hear, context=self._network._context)

        size_bytes = len(payload) + len(topic) + params.overhead_bytes
        pipe.send(size_bytes, Urgency.CONTROL, arrive, keeps_order=False)


def _give_up(future: asyncio.Future[bytes]) -> None:
    if not future.done():
        future.set_exception(Unreachable("no answer in time"))
