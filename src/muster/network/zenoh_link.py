"""The real network engine: `Link` over Eclipse Zenoh 1.10, QUIC, plain peer mode (design section 6).

Keys are short, since bytes matter at 9.6 kbit/s.  Each session has an 8-character tag:

* liveliness token ``m/<node id, base64url>/<tag>/<name>``: who is a neighbour now;
* queryable and subscriber on ``<tag>``: what this session is asked and told.

The tag is new for each session, so that nothing is sent into what a killed process left behind.  Tokens are
declared last: whoever sees one can ask at once.  A message is ``<sender's tag><topic length><topic>`` and the
payload (samples carry no sender), an answer ``<0 or 1><payload or reason>``.  The tag is a claim by a member
of the fleet, which is enough for accounting; what must be proven is signed (records) or hashed (blobs).

Zenoh calls back in its own threads; everything passes into the loop with `call_soon_threadsafe`, through one
counter that bounds what waits there.  Sends may block for up to 5 s on a full link and therefore run in a
lane (`zenoh_threads.Lane`) for each neighbour and urgency.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import zenoh

from muster.errors import MusterError
from muster.network.identity import Identity, common_name
from muster.network.link import Handler, Listener, Neighbour, Refused, Unreachable, Urgency, Watcher
from muster.network.watchdog import PING_TOPIC, watch
from muster.network.zenoh_config import (
    DEFAULT_PORT,
    LAN,
    SESSIONS_MAX,
    Endpoint,
    LinkProfile,
    endpoint,
    free_endpoint,
    session_config,
)
from muster.network.zenoh_threads import Lane, call_limited
from muster.records import NodeId, short

ANSWER_BYTES_MAX = 64 * 1024
NUDGE_BYTES_MAX = 6 * 1024
TOPIC_CHARS_MAX = 32
INBOX_MAX = 1024  # callbacks on their way into the loop
ASKS_MAX = 256  # waiting for one neighbour's answers
SERVED_MAX = 64  # asks of one neighbour that are being answered
STRANGERS_MAX = 64  # asks whose sender's token has not arrived yet
HANDLER_S_MAX = 120.0
OPEN_S_MAX = 15.0
CLOSE_S_MAX = 2.0
REOPEN_S_MAX = 60.0  # between attempts to open again
_UNLINKED_S = 20.0  # an endpoint without a link for so long is worth a sentence
_STRANGER_S = 3.0
_CHECKS_MAX = 400  # looks for the link of a token, every 0.05 s (opening takes 15 s at most)

_PRIORITY = {Urgency.CONTROL: zenoh.Priority.REAL_TIME, Urgency.BULK: zenoh.Priority.BACKGROUND}


@dataclass
class _Peer:
    """One session of a neighbour, from its token's appearance to its end."""

    node: NodeId
    name: str
    tag: str
    since_s: float
    waiting: set[asyncio.Future[bytes]] = field(default_factory=set)
    serving: int = 0

    def __post_init__(self) -> None:
        self.lanes = {urgency: Lane(f"muster-{self.name}-{urgency.name.lower()}") for urgency in Urgency}

    def end(self) -> None:
        for lane in self.lanes.values():
            lane.close()
        for future in self.waiting:
            if not future.done():
                future.set_exception(Unreachable(f"the link to {self.name} was lost"))
                future.exception()  # an asker that gave up at this very moment does not look
        self.waiting.clear()


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
        self._identity = identity
        self._wanted = [endpoint(text) for text in listen]
        self._connect = [endpoint(text) for text in connect]
        self._discovery = discovery
        self._on_problem = on_problem or (lambda sentence: None)
        self._listening: list[Endpoint] = []
        self._session: Any = None
        self._generation = 0
        self._tag = b""
        self._token: Any = None
        self._peers: dict[str, _Peer] = {}
        self._current: dict[NodeId, _Peer] = {}
        self._unchecked: set[str] = set()  # tokens whose link's certificate is not seen yet
        self._heard: dict[NodeId, float] = {}
        self._traffic: dict[NodeId, list[int]] = {}
        self._forbidden: set[NodeId] = set()
        self._handlers: dict[str, Handler] = {}
        self._listeners: dict[str, Listener] = {}
        self._watchers: list[Watcher] = []
        self._strangers: dict[str, list[asyncio.Future[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._inbox = 0
        self._inbox_lock = threading.Lock()
        self._old_port_held = False
        self._unanswered: dict[NodeId, float] = {}
        self._minders: list[asyncio.Task[None]] = []
        self.reopened = 0  # times that the watchdog found a zombie
        self.serve(PING_TOPIC, _pong)

    # ---- life --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the session. Raises MusterError("port_in_use" or "config") when it cannot listen."""
        self._loop = asyncio.get_running_loop()
        await self._open()
        for minder in (watch(self, self.profile.watch), self._mind_endpoints()):
            self._minders.append(self._loop.create_task(minder))

    async def close(self) -> None:
        """End the session, tell the watchers, forget all; returns within a few seconds whatever happens."""
        for task in (*self._minders, *self._tasks):
            task.cancel()
        await self._shut(CLOSE_S_MAX)

    async def reopen(self) -> None:
        """A new session in the place of one that looks up but delivers nothing (see `watchdog`).

        It does not give up: a session that cannot be opened is tried again with growing pauses.
        """
        self.reopened += 1
        await self._shut(self.profile.open_timeout_s + CLOSE_S_MAX)
        pause_s = 1.0
        while True:
            try:
                await self._open()
                return
            except MusterError as error:
                self._on_problem(f"the network engine does not open again: {error.sentence}")
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, REOPEN_S_MAX)

    async def _open(self) -> None:
        # A session that is opened again keeps its port: others know it.
        listening = self._listening or [_with_port(point) for point in self._wanted] or [free_endpoint()]
        if self._old_port_held:  # the old session did not let go of its port: better another than none
            listening = [free_endpoint()]
        connect = list(self._connect)
        if self._discovery and not self._wanted and listening[0].port != DEFAULT_PORT:
            # Multicast does not reach loopback on a machine without a network: its other node is here.
            connect.append(Endpoint("127.0.0.1", DEFAULT_PORT))
        session_id = f"{secrets.randbits(63) | 1 << 63:016x}"
        config = session_config(
            self._identity,
            listening,
            connect,
            session_id=session_id,
            discovery=self._discovery,
            profile=self.profile,
        )
        generation = self._generation + 1
        tag = session_id[:8]

        def opened() -> tuple[Any, Any]:
            session: Any = zenoh.open(config)
            try:
                ask, tell, live = (
                    zenoh.handlers.Callback(self._bridge(generation, function, full), indirect=False)
                    for function, full in (
                        (self._on_query, _reply_busy),
                        (self._on_nudge, _forget),
                        (self._on_token, None),
                    )
                )
                session.declare_queryable(tag, ask, allowed_origin=zenoh.Locality.REMOTE)
                session.declare_subscriber(tag, tell, allowed_origin=zenoh.Locality.REMOTE)
                session.liveliness().declare_subscriber("m/*/*/*", live, history=True)
                token = session.liveliness().declare_token(self._token_key(tag))
            except BaseException:
                session.close()
                raise
            return session, token

        self._generation = generation
        self._tag = tag.encode()
        try:
            self._session, self._token = await call_limited(
                opened, OPEN_S_MAX, late=lambda both: both[0].close()
            )
        except zenoh.ZError as error:
            raise _open_error(str(error), listening) from error
        except TimeoutError as error:
            raise MusterError(
                "internal", f"the network engine did not open within {OPEN_S_MAX:.0f} s: start the node again"
            ) from error
        self._listening = listening

    async def _shut(self, limit_s: float) -> None:
        session, token, self._session, self._token = self._session, self._token, None, None
        self._generation += 1
        self._unchecked.clear()
        for peer in list(self._peers.values()):
            self._drop_peer(peer)
        if session is None:
            return

        def shut() -> None:
            with contextlib.suppress(zenoh.ZError):
                token.undeclare()  # the neighbours know at once, however long the rest takes
            session.close()

        try:
            await call_limited(shut, limit_s)
            self._old_port_held = False
        except TimeoutError:
            # It waits for connection attempts to unreachable endpoints to time out; no harm at the end.
            self._old_port_held = True
        except zenoh.ZError as error:
            self._on_problem(f"the network engine closed with a fault: {error}")

    # ---- what is known -----------------------------------------------------------------------------------

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return {node: Neighbour(node, peer.name, peer.since_s) for node, peer in self._current.items()}

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def listening(self) -> list[str]:
        """The endpoints that this node listens on, as others would write them."""
        return [str(point) for point in self._listening]

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
        self._forbidden.add(node)
        peer = self._current.get(node)
        if peer is not None:
            self._drop_peer(peer)

    async def silent_endpoints(self) -> list[str]:
        """Configured endpoints to which there is no link now (compared by address, so for literals only)."""
        session = self._session
        if session is None:
            return [str(point) for point in self._connect]
        links = await call_limited(session.info.links, CLOSE_S_MAX)
        hosts = {endpoint(str(link.dst).partition("?")[0]).host.removeprefix("::ffff:") for link in links}
        return [str(point) for point in self._connect if point.host not in hosts]

    async def _mind_endpoints(self) -> None:
        """Say of each configured endpoint that got no link at first; the engine itself is mute."""
        missing = {str(point) for point in self._connect}  # never linked, not yet spoken of
        while missing:
            await asyncio.sleep(_UNLINKED_S)
            with contextlib.suppress(TimeoutError, zenoh.ZError):
                for point in sorted(missing & set(await self.silent_endpoints())):
                    self._on_problem(
                        f"no link to {point} yet: the node there is off or out of reach, or belongs to "
                        "another fleet; it is tried again all the time"
                    )
                missing.clear()  # whoever was linked once is a neighbour, and its going is an event

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
        peer = self._current.get(node)
        session = self._session
        if peer is None or session is None:
            raise Unreachable(f"{short(node)} is no neighbour now")
        if len(peer.waiting) >= ASKS_MAX:
            raise Refused(f"{ASKS_MAX} questions wait for {peer.name} already")
        message = self._message(topic, payload)
        future: asyncio.Future[bytes] = self._loop.create_future()
        generation = self._generation

        def answered(data: bytes | None) -> None:
            if not future.done():
                if data:
                    future.set_result(data)
                else:
                    future.set_exception(Unreachable(f"{peer.name} gave no answer"))
                    future.exception()

        def on_reply(reply: Any) -> None:
            sample = reply.ok
            if sample is not None:
                self._post(generation, answered, sample.payload.to_bytes(), None)

        def send() -> None:
            if future.done():
                return
            try:
                session.get(
                    peer.tag,
                    zenoh.handlers.Callback(
                        on_reply, lambda: self._post(generation, answered, None, None), indirect=False
                    ),
                    # Deliver each reply as it comes; the query itself may end much later.
                    consolidation=zenoh.ConsolidationMode.NONE,
                    timeout=timeout_s + 1,
                    congestion_control=zenoh.CongestionControl.BLOCK,
                    priority=_PRIORITY[urgency],
                    payload=message,
                    allowed_destination=zenoh.Locality.REMOTE,
                )
            except zenoh.ZError:
                self._post(generation, answered, None, None)

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
        peer = self._current.get(node)
        session = self._session
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

    # ---- from Zenoh's threads into the loop --------------------------------------------------------------

    def _bridge(
        self, generation: int, function: Callable[[Any], None], full: Callable[[Any], None] | None
    ) -> Callable[[Any], None]:
        return lambda item: self._post(generation, function, item, full)

    def _post(
        self,
        generation: int,
        function: Callable[[Any], None],
        item: Any,
        full: Callable[[Any], None] | None,
    ) -> None:
        """Call `function(item)` on the loop; `full(item)` here instead when too much waits there.

        Without `full` the item always gets in: tokens and answers are bounded by neighbours and questions.
        """
        with self._inbox_lock:
            if full is not None and self._inbox >= INBOX_MAX:
                overflow = True
            else:
                overflow = False
                self._inbox += 1
        if overflow:
            assert full is not None
            full(item)
            return

        def arrive() -> None:
            with self._inbox_lock:
                self._inbox -= 1
            if generation == self._generation:
                function(item)

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            self._loop.call_soon_threadsafe(arrive)

    def _on_token(self, sample: Any) -> None:
        parts = str(sample.key_expr).split("/")
        if len(parts) != 4:
            return
        _, identifier, tag, name = parts
        if sample.kind == zenoh.SampleKind.DELETE:
            self._unchecked.discard(tag)
            peer = self._peers.get(tag)
            if peer is not None:
                self._drop_peer(peer)
            return
        try:
            node = base64.urlsafe_b64decode(identifier + "=")
        except ValueError:
            return
        if tag in self._peers or tag.encode() == self._tag or len(node) != 32 or node in self._forbidden:
            return
        if node == self.node:
            self._on_problem(
                "another process uses this node's bundle: give every node a bundle of its own "
                "('muster fleet issue NAME')"
            )
            return
        if len(self._unchecked) < SESSIONS_MAX:
            self._unchecked.add(tag)
            self._check_peer(self._generation, node, tag, name, _CHECKS_MAX)

    def _check_peer(self, generation: int, node: NodeId, tag: str, name: str, checks: int) -> None:
        """Take the neighbour when its link's certificate is the one of the node that it says it is."""
        if generation != self._generation or tag not in self._unchecked:
            return
        # A token can be here before `_open` has got its session back, and before the link is listed.
        for link in self._session.info.links() if self._session is not None else ():
            if str(link.zid).startswith(tag):
                self._unchecked.discard(tag)
                if link.auth_identifier == common_name(name, node):
                    self._add_peer(_Peer(node, name, tag, self._loop.time()))
                else:
                    self._on_problem(f"a neighbour calls itself {name!r} but is {link.auth_identifier!r}")
                return
        if checks:
            self._loop.call_later(0.05, self._check_peer, generation, node, tag, name, checks - 1)
        else:
            self._unchecked.discard(tag)

    def _add_peer(self, peer: _Peer) -> None:
        old = self._current.get(peer.node)
        if old is not None:
            self._drop_peer(old)
        self._peers[peer.tag] = peer
        self._current[peer.node] = peer
        self._heard[peer.node] = peer.since_s
        for future in self._strangers.pop(peer.tag, ()):
            if not future.done():
                future.set_result(None)
        self._tell(peer.node, True)

    def _drop_peer(self, peer: _Peer) -> None:
        self._peers.pop(peer.tag, None)
        peer.end()
        if self._current.get(peer.node) is peer:
            del self._current[peer.node]
            self._tell(peer.node, False)

    def _tell(self, node: NodeId, up: bool) -> None:
        for watcher in self._watchers:
            self._loop.call_soon(watcher, node, up)  # one that fails does not keep the others from knowing

    def _on_nudge(self, sample: Any) -> None:
        parsed = _parse(sample.payload.to_bytes())
        peer = self._peers.get(parsed[0]) if parsed else None
        if parsed is None or peer is None:
            return
        _, topic, payload = parsed
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
        peer = self._peers.get(tag) or await self._stranger(tag)
        if peer is None:
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
        if len(answer) > NUDGE_BYTES_MAX:
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
            return b"\x01" + str(refusal).encode()[:NUDGE_BYTES_MAX]
        except TimeoutError:
            return b"\x01this took too long"
        except Exception as error:
            self._loop.call_exception_handler({"message": f"serving {topic!r} failed", "exception": error})
            return b"\x01this node failed to answer"
        if len(answer) > ANSWER_BYTES_MAX:
            return b"\x01the answer would be too long"
        return b"\x00" + answer

    async def _stranger(self, tag: str) -> _Peer | None:
        """Wait a little for the token of a sender whose first question overtook it."""
        if sum(map(len, self._strangers.values())) >= STRANGERS_MAX:
            return None
        future: asyncio.Future[None] = self._loop.create_future()
        self._strangers.setdefault(tag, []).append(future)
        try:
            async with asyncio.timeout(_STRANGER_S):
                await future
        except TimeoutError:
            self._strangers.pop(tag, None)
        return self._peers.get(tag)

    # ---- parts -------------------------------------------------------------------------------------------

    def _token_key(self, tag: str) -> str:
        identifier = base64.urlsafe_b64encode(self.node).decode().rstrip("=")
        return f"m/{identifier}/{tag}/{self._identity.name}"

    def _message(self, topic: str, payload: bytes) -> bytes:
        return self._tag + bytes((len(_topic(topic)),)) + topic.encode() + payload

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


def _reply_busy(query: Any) -> None:
    """In Zenoh's thread, when the loop does not keep up; a short answer at the query's own priority."""
    with contextlib.suppress(zenoh.ZError):
        query.reply(query.key_expr, b"\x01this node is busy: ask again")
    query.drop()


def _forget(item: Any) -> None:
    """A nudge that finds the inbox full is lost."""


def _with_port(point: Endpoint) -> Endpoint:
    """Port 0 is any free port; one that was asked for stays."""
    if point.port:
        return point
    return Endpoint(point.host, free_endpoint(point.host).port)


def _open_error(reason: str, listening: list[Endpoint]) -> MusterError:
    where = ", ".join(map(str, listening))
    if "in use" in reason:
        return MusterError(
            "port_in_use",
            f"another program listens on {where} already: stop it, or give this node another port",
        )
    if "assign requested" in reason:
        return MusterError(
            "config", f"this machine has no address {where}: listen on one of its own, or on [::]"
        )
    return MusterError("config", f"cannot listen on {where}: {reason.partition(' at /')[0]}")
