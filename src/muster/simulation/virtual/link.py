"""One node's end of the simulated network: the link interface of `network/transport` in virtual time."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Coroutine
from typing import Any, Protocol

from muster.network.transport.link import Handler, Listener, Neighbour, Refused, Unreachable, Urgency, Watcher
from muster.protocol.ids import NodeId
from muster.simulation.virtual.pipe import Pipe
from muster.simulation.virtual.wire import Wire

ANSWER_BYTES_MAX = 64 * 1024
NUDGE_BYTES_MAX = 64 * 1024


class Network(Protocol):
    """What a link needs of the network that it belongs to (`network.SimNetwork`)."""

    rng: random.Random
    context: contextvars.Context  # of what belongs to no node

    def attach(self, link: SimLink) -> None:
        """The node runs: neighbours will notice."""

    def detach(self, link: SimLink, goodbye: bool) -> None:
        """The node's engine ends; with `goodbye` neighbours notice at once."""

    def session(self, a: NodeId, b: NodeId) -> tuple[Wire, Pipe] | None:
        """The wire from a to b, if a believes that it is up."""

    def live(self, wire: Wire, session: int, node: NodeId) -> SimLink | None:
        """Where something sent in `session` arrives; None when that session is over for its receiver."""


class SimLink:
    """Implements `network.transport.link.Link` over simulated wires."""

    def __init__(self, network: Network, node: NodeId, name: str) -> None:
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
        self._sent = self._received = 0  # bytes

    async def start(self) -> None:
        self._context = contextvars.copy_context()
        self._network.attach(self)

    async def close(self) -> None:
        """Say goodbye: neighbours notice at once."""
        self._network.detach(self, goodbye=True)
        self.end()

    def end(self) -> None:
        for node in list(self._neighbours):
            self.went(node)
        for task in list(self._tasks):
            task.cancel()

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return dict(self._neighbours)

    def traffic_total(self) -> tuple[int, int]:
        """Application bytes (sent, received) since the start."""
        return self._sent, self._received

    def forbid(self, node: NodeId, name: str, revocation: bytes) -> None:
        self._forbidden.add(node)
        self.went(node)

    def twins(self) -> set[NodeId]:
        return set()  # one link a node here

    def tell_twins(self, node: NodeId, topic: str, payload: bytes) -> None:
        self.nudge(node, topic, payload)

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def serve(self, topic: str, handler: Handler) -> None:
        self._handlers[topic] = handler

    def listen(self, topic: str, listener: Listener) -> None:
        self._listeners[topic] = listener

    def came(self, node: NodeId, name: str) -> None:
        if node in self._forbidden:
            return
        self._neighbours[node] = Neighbour(node, name, asyncio.get_running_loop().time())
        self._tell(node, True)

    def _tell(self, node: NodeId, up: bool) -> None:
        for watcher in self._watchers:
            self._context.copy().run(watcher, node, up)

    def went(self, node: NodeId) -> None:
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
        found = self._network.session(self.node, node)
        if found is None or node in self._forbidden:
            raise Unreachable("no such neighbour is up")
        wire, pipe = found
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bytes] = loop.create_future()
        session = wire.session

        def arrive() -> None:
            link = self._network.live(wire, session, node)
            if link is None or self.node in link._forbidden:
                return
            if self._network.rng.random() >= pipe.params.ask_loss:
                link._begin(link._answer(wire, session, self.node, topic, payload, urgency, future))

        size_bytes = len(payload) + len(topic) + pipe.params.overhead_bytes
        if not pipe.send(size_bytes, urgency, arrive):
            raise Unreachable("the link's queue is full")
        self._sent += len(payload)
        asks = self._asks.setdefault(node, {})
        asks[future] = None
        timer = loop.call_later(timeout_s, _give_up, future)
        try:
            answer = await future
            self._received += len(answer)
            return answer
        finally:
            timer.cancel()
            asks.pop(future, None)

    def _begin(self, answer: Coroutine[Any, Any, None]) -> None:
        """Make an answer in this node's context; it ends with the link."""
        task = asyncio.get_running_loop().create_task(answer, context=self._context)
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _answer(
        self,
        wire: Wire,
        session: int,
        asker: NodeId,
        topic: str,
        payload: bytes,
        urgency: Urgency,
        future: asyncio.Future[bytes],
    ) -> None:
        answer: bytes | Exception
        self._received += len(payload)
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
        if self._network.live(wire, session, self.node) is not self:
            return
        pipe = wire.pipes[wire.index(self.node)]

        def arrive() -> None:
            link = self._network.live(wire, session, asker)
            if future.done() or link is None or self._network.rng.random() < pipe.params.ask_loss:
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        text = str(answer).encode() if isinstance(answer, Exception) else answer
        self._sent += len(text)
        pipe.send(len(text) + pipe.params.overhead_bytes, urgency, arrive)

    def nudge(self, node: NodeId, topic: str, payload: bytes) -> None:
        found = self._network.session(self.node, node)
        if found is None or node in self._forbidden or len(payload) > NUDGE_BYTES_MAX:
            return
        wire, pipe = found
        rng, params, session = self._network.rng, pipe.params, wire.session
        if pipe.held or (params.nudge_loss and rng.random() < params.nudge_loss):
            return
        if params.nudge_corrupt and payload and rng.random() < params.nudge_corrupt:
            damaged = bytearray(payload)
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            payload = bytes(damaged)

        def hear() -> None:
            link = self._network.live(wire, session, node)
            if link is None or self.node in link._forbidden:
                return
            link._received += len(payload)
            listener = link._listeners.get(topic)
            if listener is not None:
                asyncio.get_running_loop().call_soon(listener, self.node, payload, context=link._context)

        def arrive() -> None:
            if params.nudge_reorder and rng.random() < params.nudge_reorder:
                asyncio.get_running_loop().call_later(rng.random(), hear, context=self._network.context)
            else:
                hear()
            if params.nudge_duplicate and rng.random() < params.nudge_duplicate:
                asyncio.get_running_loop().call_later(rng.random(), hear, context=self._network.context)

        size_bytes = len(payload) + len(topic) + params.overhead_bytes
        self._sent += len(payload)
        pipe.send(size_bytes, Urgency.CONTROL, arrive, keeps_order=False)


def _give_up(future: asyncio.Future[bytes]) -> None:
    if not future.done():
        future.set_exception(Unreachable("no answer in time"))
