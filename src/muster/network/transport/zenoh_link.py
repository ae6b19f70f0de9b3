"""The real network engine: `Link` over Eclipse Zenoh 1.10, QUIC, plain peer mode (design section 6).

Keys are short, since bytes matter at 9.6 kbit/s.  Each session has an 8-character tag:

* liveliness token ``m/<node id, base64url>/<tag>/<name>``: who is a neighbour now;
* queryable and subscriber on ``<tag>``: what this session is asked and told.

The tag is new for each session, so that nothing is sent into what a killed process left behind.  Tokens are
declared last: whoever sees one can ask at once.  A message is ``<sender's tag><topic length><topic>`` and the
payload (samples carry no sender), an answer ``<0 or 1><payload or reason>``.  The tag is a claim by a member
of the fleet, which is enough for accounting; what must be proven is signed (records) or hashed (blobs).

Opening, closing and what Zenoh's threads call: `zenoh_session`; who is a neighbour: `zenoh_peers`.  Sends may
block for up to 5 s on a full link and therefore run in a lane (`zenoh_threads.Lane`) for each neighbour and
urgency.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import zenoh

from muster.network.transport.link import Handler, Listener, Neighbour, Refused, Unreachable, Urgency, Watcher
from muster.network.transport.watchdog import PING_TOPIC, watch
from muster.network.transport.zenoh_config import LAN, LinkProfile, endpoint
from muster.network.transport.zenoh_peers import Peer, Peers
from muster.network.transport.zenoh_session import CLOSE_S_MAX, Engine
from muster.network.trust.identity import Identity
from muster.protocol.records import NodeId, short

ANSWER_BYTES_MAX = 64 * 1024
NUDGE_BYTES_MAX = 6 * 1024  # over one batch (2 KiB) it goes in pieces, and is lost when one is
REFUSAL_BYTES_MAX = 1024
SMALL_ANSWER_BYTES = 1500  # fits into one batch; a larger one waits in the lane for bulk
TOPIC_CHARS_MAX = 32
ASKS_MAX = 256  # waiting for one neighbour's answers
SERVED_MAX = 64  # asks of one neighbour that are being answered
HANDLER_S_MAX = 120.0
HALF_OPEN_S = 10.0  # a session that talks to us for so long without being a neighbour has half a link to us
STRANGE_S = 60.0  # a stranger that was silent for so long begins anew
STRANGERS_MAX = 64

_PRIORITY = {Urgency.CONTROL: zenoh.Priority.REAL_TIME, Urgency.BULK: zenoh.Priority.BACKGROUND}


class ZenohLink:
    """One node's engine. `listen` and `connect` are endpoints like "10.0.0.2:7447".

    With `listen=[]` it takes the default port, or any free one when another node of this machine has it;
    `discovery` finds nodes on the same LAN and machine by multicast.  `on_problem` gets sentences for people.
    """

    def __init__(
        self,
        identity: Identity,
        listen: list[str],
        connect: list[str],
        *,
        discovery: bool,
        profile: LinkProfile = LAN,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        self.node: NodeId = identity.node
        self.profile = profile
        self._on_problem = on_problem or (lambda sentence: None)
        self._engine = Engine(
            identity,
            [endpoint(text) for text in listen],
            [endpoint(text) for text in connect],
            discovery=discovery,
            profile=profile,
            on_problem=self._on_problem,
            on_query=self._on_query,
            on_sample=self._on_nudge,
            on_token=self._on_token,
        )
        self._peers = Peers(self.node, self._engine.links, self._changed, self._on_problem)
        self._heard: dict[NodeId, float] = {}
        self._traffic: dict[NodeId, list[int]] = {}
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, Listener] = {}
        self._watchers: list[Watcher] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._unanswered: dict[NodeId, float] = {}
        # sessions that talk to us without being neighbours: since when, and when last
        self._strange: dict[str, tuple[float, float]] = {}
        self._half_open = False
        self._minders: list[asyncio.Task[None]] = []
        self.reopened = 0  # times that the watchdog found a zombie
        self.renewed = 0  # times that it found this node deserted
        self.serve(PING_TOPIC, _pong)

    # ---- life --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the session. Raises MusterError("port_in_use" or "config") when it cannot listen."""
        self._loop = asyncio.get_running_loop()
        await self._engine.open()
        for minder in (watch(self, lambda: self.profile.watch), self._engine.mind_endpoints()):
            self._minders.append(self._loop.create_task(minder))

    async def close(self) -> None:
        """End the session, tell the watchers, forget all; returns within a few seconds whatever happens."""
        for task in (*self._minders, *self._tasks):
            task.cancel()
        self._peers.clear()
        await self._engine.shut(CLOSE_S_MAX)

    async def reopen(self) -> None:
        """A new session in the place of one that looks up but delivers nothing (see `watchdog`)."""
        self.reopened += 1
        self._half_open = False
        self._strange.clear()
        self._peers.clear()
        await self._engine.again()

    async def renew(self) -> None:
        """A new listener in the place of one that may be blocked (see `watchdog`)."""
        self.renewed += 1
        self._peers.clear()
        await self._engine.again()

    def adopt(self, profile: LinkProfile) -> None:
        """Other timings: the watchdog's from now on, the engine's from the next session on."""
        self.profile = self._engine.profile = profile

    # ---- what is known -----------------------------------------------------------------------------------

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return self._peers.neighbours()

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def listening(self) -> list[str]:
        """The endpoints that this node listens on, as others would write them."""
        return [str(point) for point in self._engine.listening]

    async def silent_endpoints(self) -> list[str]:
        """Configured endpoints to which there is no link now (compared by address, so for literals only)."""
        return await self._engine.silent_endpoints()

    def traffic(self, node: NodeId) -> tuple[int, int]:
        """Application bytes (sent, received) to and from a neighbour since the start."""
        sent, received = self._traffic.get(node, (0, 0))
        return sent, received

    def last_heard(self, node: NodeId) -> float | None:
        """Loop time of the last message of any kind from this node; None if there was none yet."""
        return self._heard.get(node)

    def last_unanswered(self, node: NodeId) -> float | None:
        """Loop time at which this node last left a question unanswered; None if it never did."""
        return self._unanswered.get(node)

    def forbid(self, node: NodeId) -> None:
        """A revoked member: it is no neighbour any more, and what it asks or tells is ignored."""
        self._peers.forbid(node)

    def deserted(self) -> bool:
        """Nobody is in reach of a node that had neighbours."""
        return self._peers.met and not self._peers.neighbours()

    def half_open(self) -> bool:
        """Whether somebody takes this node for a neighbour that is none of its own."""
        return self._half_open

    def _note_stranger(self, tag: str) -> None:
        now_s = self._loop.time()
        if self._peers.rejected(tag) or self._peers.checking(tag):
            return
        since_s, last_s = self._strange.pop(tag, (now_s, now_s))
        if now_s - last_s > STRANGE_S:
            since_s = now_s
        if len(self._strange) < STRANGERS_MAX:
            self._strange[tag] = (since_s, now_s)
        if now_s - since_s >= HALF_OPEN_S:
            self._half_open = True

    # ---- asking and telling ------------------------------------------------------------------------------

    async def ask(
        self,
        node: NodeId,
        topic: str,
        payload: bytes,
        *,
        timeout_s: float,
        urgency: Urgency = Urgency.CONTROL,
    ) -> bytes:
        peer, session = self._peers.get(node), self._engine.session
        if peer is None or session is None:
            raise Unreachable(f"{short(node)} is no neighbour now")
        if len(peer.waiting) >= ASKS_MAX:
            raise Refused(f"{ASKS_MAX} questions wait for {peer.name} already")
        message = self._message(topic, payload)
        future: asyncio.Future[bytes] = self._loop.create_future()
        arrives = self._engine.arrives()

        def answered(data: bytes | None) -> None:
            if not future.done():
                if data:
                    future.set_result(data)
                else:
                    self._unanswered[node] = self._loop.time()  # it does not know us, perhaps: ping it
                    future.set_exception(Unreachable(f"{peer.name} gave no answer"))
                    future.exception()

        def on_reply(reply: Any) -> None:
            sample = reply.ok
            if sample is not None:
                arrives(answered, sample.payload.to_bytes(), None)

        def send() -> None:
            if future.done():
                return
            try:
                session.get(
                    peer.tag,
                    zenoh.handlers.Callback(on_reply, lambda: arrives(answered, None, None), indirect=False),
                    # Deliver each reply as it comes; the query itself may end much later.
                    consolidation=zenoh.ConsolidationMode.NONE,
                    timeout=timeout_s + 1,
                    congestion_control=zenoh.CongestionControl.BLOCK,
                    priority=_PRIORITY[urgency],
                    payload=message,
                    allowed_destination=zenoh.Locality.REMOTE,
                )
            except zenoh.ZError:
                arrives(answered, None, None)

        peer.waiting.add(future)
        try:
            if not peer.lanes[urgency].put(send):
                raise Refused(f"the queue to {peer.name} is full")
            self._count(node, sent=len(payload))
            async with asyncio.timeout(timeout_s):
                data = await future
        except TimeoutError as error:
            self._unanswered[node] = self._loop.time()
            raise Unreachable(f"{peer.name} did not answer within {timeout_s:g} s") from error
        finally:
            peer.waiting.discard(future)
            future.cancel()
        self._count(node, received=len(data) - 1)
        if data[0]:
            raise Refused(data[1:].decode(errors="replace"))
        return data[1:]

    def serve(self, topic: str, handler: Handler) -> None:
        self._handlers[_topic(topic)] = handler

    def nudge(self, node: NodeId, topic: str, payload: bytes) -> None:
        peer, session = self._peers.get(node), self._engine.session
        if peer is None or session is None or len(payload) > NUDGE_BYTES_MAX:
            return
        message = self._message(topic, payload)

        def send() -> None:
            with contextlib.suppress(zenoh.ZError):  # a nudge may be lost
                session.put(
                    peer.tag,
                    message,
                    congestion_control=zenoh.CongestionControl.DROP,
                    priority=zenoh.Priority.REAL_TIME,
                    allowed_destination=zenoh.Locality.REMOTE,
                )

        if peer.lanes[Urgency.CONTROL].put(send):
            self._count(node, sent=len(payload))

    def listen(self, topic: str, listener: Listener) -> None:
        self._listeners[_topic(topic)] = listener

    # ---- what arrives, on the loop -----------------------------------------------------------------------

    def _on_token(self, sample: Any) -> None:
        self._peers.token(str(sample.key_expr), sample.kind == zenoh.SampleKind.DELETE, self._engine.tag)

    def _changed(self, peer: Peer, up: bool) -> None:
        if up:
            self._heard[peer.node] = peer.since_s
            self._strange.pop(peer.tag, None)
        for watcher in self._watchers:
            self._loop.call_soon(watcher, peer.node, up)  # one that fails does not keep others from knowing

    def _on_nudge(self, sample: Any) -> None:
        parsed = _parse(sample.payload.to_bytes())
        if parsed is None:
            return
        tag, topic, payload = parsed
        peer = self._peers.by_tag(tag)
        if peer is None:
            self._note_stranger(tag)
            return
        self._count(peer.node, received=len(payload))
        listener = self._listeners.get(topic)
        if listener is not None:
            listener(peer.node, payload)

    def _on_query(self, query: Any) -> None:
        payload = query.payload
        parsed = _parse(payload.to_bytes()) if payload is not None else None
        if parsed is None:
            query.drop()
            return
        task = self._loop.create_task(self._answer(query, *parsed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query: Any, tag: str, topic: str, payload: bytes) -> None:
        peer = self._peers.by_tag(tag) or await self._peers.stranger(tag)
        if peer is None:
            self._note_stranger(tag)
            query.drop()
            return
        self._count(peer.node, received=len(payload))
        answer, urgency = b"\x01this node is busy: ask again", Urgency.CONTROL
        if peer.serving < SERVED_MAX:
            peer.serving += 1
            try:
                answer = await self._handle(peer.node, topic, payload)
            finally:
                peer.serving -= 1
        if len(answer) > SMALL_ANSWER_BYTES:
            urgency = Urgency.BULK
        self._count(peer.node, sent=len(answer) - 1)

        def send() -> None:
            with contextlib.suppress(zenoh.ZError):  # the asker may be gone
                query.reply(query.key_expr, answer)  # priority and congestion control: the query's
            query.drop()

        if not peer.lanes[urgency].put(send):
            query.drop()

    async def _handle(self, node: NodeId, topic: str, payload: bytes) -> bytes:
        """The answer's bytes, status first."""
        handler = self._handlers.get(topic)
        if handler is None:
            return b"\x01this node serves no " + topic.encode()
        try:
            async with asyncio.timeout(HANDLER_S_MAX):
                answer = await handler(node, payload)
        except Refused as refusal:
            return b"\x01" + str(refusal).encode()[:REFUSAL_BYTES_MAX]
        except TimeoutError:
            return b"\x01this took too long"
        except Exception as error:
            self._loop.call_exception_handler({"message": f"serving {topic!r} failed", "exception": error})
            return b"\x01this node failed to answer"
        if len(answer) > ANSWER_BYTES_MAX:
            return b"\x01the answer would be too long"
        return b"\x00" + answer

    # ---- parts -------------------------------------------------------------------------------------------

    def _message(self, topic: str, payload: bytes) -> bytes:
        return self._engine.tag.encode() + bytes((len(_topic(topic)),)) + topic.encode() + payload

    def _count(self, node: NodeId, sent: int = 0, received: int | None = None) -> None:
        counter = self._traffic.setdefault(node, [0, 0])
        counter[0] += sent
        if received is not None:
            counter[1] += received
            self._heard[node] = self._loop.time()


async def _pong(node: NodeId, payload: bytes) -> bytes:
    return b""


def _topic(topic: str) -> str:
    assert topic.isascii(), topic
    assert 0 < len(topic) <= TOPIC_CHARS_MAX, topic
    return topic


def _parse(message: bytes) -> tuple[str, str, bytes] | None:
    """(sender's tag, topic, payload), or None for what no node of this format sends."""
    if len(message) < 9 or not message[:8].isascii():
        return None
    end = 9 + message[8]
    topic = message[9:end]
    if message[8] > TOPIC_CHARS_MAX or len(topic) != message[8] or not topic.isascii():
        return None
    return message[:8].decode(), topic.decode(), message[end:]
