"""The real network engine: `Link` over Eclipse Zenoh 1.10, QUIC, plain peer mode.

Keys are short, since bytes matter at 9.6 kbit/s.  Each session has an 8-character tag:

* liveliness token ``m/<node id, base64url>/<tag>/<name>``: who is a neighbour now;
* queryable and subscriber on ``<tag>``: requests and nudges to this session.

The tag is new for each session, so that nothing is sent into what a killed process left behind.  Tokens are
declared last: whoever sees one can ask at once.  The tag in a message (`messages`) is a claim by a
member of the fleet, enough for accounting; what must be proven is signed (records) or hashed (blobs).

Opening, closing and what Zenoh's threads call: `session`; who is a neighbour: `peers`; what is answered:
`server`; what is sent: `sending`; what follows from a change of this machine's networks: `networks`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import zenoh

from muster.network.supervisor import KeptLoop, Pulse, Supervisor
from muster.network.transport.activity import PeerActivity, UnknownSessions
from muster.network.transport.endpoints import Endpoint, endpoint
from muster.network.transport.link import (
    REVOKED_TOPIC,
    Handler,
    Listener,
    Neighbour,
    Refused,
    Unreachable,
    Urgency,
    Watcher,
)
from muster.network.transport.reaching.unlinked import UnlinkedEndpoints
from muster.network.transport.watchdog import PING_TOPIC, watch
from muster.network.transport.zenoh.config import LAN, LinkProfile
from muster.network.transport.zenoh.networks import LocalNetworks
from muster.network.transport.zenoh.peers import PeerSession, PeerSessions
from muster.network.transport.zenoh.sending import ZenohSending
from muster.network.transport.zenoh.server import ZenohServer
from muster.network.transport.zenoh.session import CLOSE_S_MAX, ZenohSession
from muster.network.trust.certificates import common_name
from muster.network.trust.identity import Identity
from muster.protocol.ids import NOBODY, NodeId

TELL_S = 2.0  # how often it is looked for revoked nodes that do not know it


class ZenohLink:
    """Connects one node with its neighbours. Endpoints are written like "10.0.0.2:7447".

    With `listen=[]` it takes the default port, or any free one when another node of this machine has it;
    `discovery` finds nodes on the same LAN and machine by multicast.  `on_problem` gets sentences for
    people, and `on_change` those about this machine's networks.
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
        on_change: Callable[[str], None] | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.node: NodeId = identity.node
        self.profile = profile
        self._on_problem = on_problem or (lambda sentence: None)
        self._session = ZenohSession(
            identity,
            [endpoint(text) for text in listen],
            [endpoint(text) for text in connect],
            profile=profile,
            on_open=lambda session_id: self._networks.opened(session_id),
            on_problem=self._on_problem,
            on_query=self._on_query,
            on_sample=self._on_nudge,
            on_token=self._on_token,
            on_revoked=self._on_revoked,
        )
        self._peers = PeerSessions(self.node, self._session.links, self._changed, self._on_problem)
        self._activity, self._unknown = PeerActivity(), UnknownSessions()
        self._server = ZenohServer(self._peers, self._activity, self._unknown)
        self._sending = ZenohSending(self._session, self._peers, self._activity)
        self.unlinked = UnlinkedEndpoints(
            self._session.connect, self._session.far_ends, self._on_problem, after_s=profile.open_timeout_s
        )
        self._watchers: list[Watcher] = []
        self._supervisor = supervisor or Supervisor()
        self._networks = LocalNetworks(
            identity,
            self._session,
            self._peers,
            discovery=discovery,
            answers=self._answers,
            renew=self.renew,
            on_problem=self._on_problem,
            say=on_change or (lambda sentence: None),
            supervisor=self._supervisor,
        )
        self._background: list[KeptLoop | asyncio.Task[None]] = []
        self.reopened = 0  # times that the watchdog found a zombie
        self.renewed = 0  # times that it found this node deserted
        self.serve(PING_TOPIC, _pong)

    # ---- life --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the session. Raises MusterError("port_in_use" or "config") when it cannot listen."""
        self._loop = asyncio.get_running_loop()
        await self._session.open()
        await self._bar()  # whoever was revoked meanwhile
        self._networks.say_missing()
        loops = {
            "the watchdog": self._watch,
            "looking for endpoints": self.unlinked.run,
            **self._networks.loops(),
            "telling revoked nodes": self._tell_barred,
        }
        for name, work in loops.items():
            self._background.append(self._supervisor.keep(name, work))

    async def close(self) -> None:
        """End the session, tell the watchers, forget all; returns within a few seconds whatever happens."""
        for minder in self._background:
            minder.cancel()
        self._server.close()
        self._peers.clear()
        await self._session.shut(CLOSE_S_MAX)
        self._session.scoped.close()

    async def reopen(self) -> None:
        """A new session in the place of one that looks up but delivers nothing (see `watchdog`)."""
        self.reopened += 1
        self._unknown.clear()
        self._peers.clear()
        await self._session.reopen()

    async def renew(self) -> None:
        """A new listener in the place of one that may be blocked (see `watchdog`)."""
        self.renewed += 1
        self._peers.clear()
        await self._session.reopen()

    async def _watch(self, pulse: Pulse) -> None:
        await watch(self, lambda: self.profile.watch, pulse)

    async def _tell_barred(self, pulse: Pulse) -> None:
        while True:
            pulse.renew(TELL_S)
            await asyncio.sleep(TELL_S)
            if self._session.barred:
                await self._session.tell_barred()

    async def _answers(self, node: NodeId) -> bool:
        """Whether a neighbour still does, or went by itself."""
        try:
            await self.ask(node, PING_TOPIC, b"", timeout_s=self.profile.answer_s)
        except Unreachable:
            return node not in self._peers.neighbours()
        except Refused:
            pass
        return True

    def place(self) -> tuple[bytes, list[str]]:
        """The present session, and where others can dial it."""
        return self._networks.place()

    def members_at(self) -> dict[Endpoint, NodeId]:
        """Which neighbours the configured endpoints lead to."""
        peers = {point: self._peers.by_tag(tag) for point, tag in self.unlinked.sessions.items()}
        return {point: peer.node for point, peer in peers.items() if peer is not None}

    def dial(self, session: bytes, point: Endpoint) -> None:
        """Have a member's session dialled; one to which there is a link is left alone."""
        self._networks.dial(session.hex(), point)

    def adopt(self, profile: LinkProfile) -> None:
        """Other timings: the watchdog's from now on, the engine's from the next session on."""
        self.profile = self._session.profile = profile

    # ---- what is known -----------------------------------------------------------------------------------

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return self._peers.neighbours()

    def twins(self) -> set[NodeId]:
        return set(self._peers.twins())

    def tell_twins(self, node: NodeId, topic: str, payload: bytes) -> None:
        for tag in self._peers.twins().get(node, ()):
            self._sending.nudge(node, topic, payload, tag)

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    def listening(self) -> list[str]:
        """The endpoints that this node listens on, as others would write them."""
        return [str(point) for point in self._session.listening]

    def traffic(self, node: NodeId) -> tuple[int, int]:
        """Application bytes (sent, received) to and from a neighbour since the start."""
        return self._activity.bytes(node)

    def traffic_total(self) -> tuple[int, int]:
        """Application bytes (sent, received) to and from all neighbours since the start."""
        return self._activity.total

    def last_heard(self, node: NodeId) -> float | None:
        """Loop time of the last message of any kind from this node; None if there was none yet."""
        return self._activity.heard_s(node)

    def last_unanswered(self, node: NodeId) -> float | None:
        """Loop time at which this node last left a request unanswered; None if it never did."""
        return self._activity.unanswered_s(node)

    def forbid(self, node: NodeId, name: str, revocation: bytes) -> None:
        """A revoked member: nothing passes over a link with its certificate from now on but the revocation.

        The engine needs a new session for that: all other neighbours are away for about a second."""
        self._peers.forbid(node)
        self._session.barred[common_name(name, node)] = revocation
        if self._session.lets_barred_pass():
            self._background.append(self._supervisor.once(f"barring {name}", self._bar()))

    async def _bar(self) -> None:
        if self._session.lets_barred_pass():  # one new session does for all who were revoked by then
            self._unknown.clear()
            self._peers.clear()
            await self._session.bar()

    def deserted(self) -> bool:
        """Nobody is in reach of a node that had neighbours."""
        return self._peers.had_neighbours and not self._peers.neighbours()

    def half_open(self) -> bool:
        """Whether somebody takes this node for a neighbour that is none of its own."""
        return self._unknown.half_open

    # ---- requests and nudges -------------------------------------------------------------------------------

    async def ask(
        self,
        node: NodeId,
        topic: str,
        payload: bytes,
        *,
        timeout_s: float,
        urgency: Urgency = Urgency.CONTROL,
    ) -> bytes:
        return await self._sending.ask(node, topic, payload, timeout_s=timeout_s, urgency=urgency)

    def serve(self, topic: str, handler: Handler) -> None:
        self._server.serve(topic, handler)

    def nudge(self, node: NodeId, topic: str, payload: bytes) -> None:
        self._sending.nudge(node, topic, payload)

    def listen(self, topic: str, listener: Listener) -> None:
        self._server.listen(topic, listener)

    # ---- what arrives, on the loop -----------------------------------------------------------------------

    def _on_token(self, sample: Any) -> None:
        self._peers.token(str(sample.key_expr), sample.kind == zenoh.SampleKind.DELETE, self._session.tag)

    def _changed(self, peer: PeerSession, up: bool) -> None:
        if up:
            self._activity.came(peer.node, peer.since_s)
            self._unknown.forget(peer.tag)
        self._networks.neighbour(up=up)
        for watcher in self._watchers:
            self._loop.call_soon(watcher, peer.node, up)  # one that fails does not keep others from knowing

    def _on_revoked(self, sample: Any) -> None:
        self._server.tell(REVOKED_TOPIC, NOBODY, sample.payload.to_bytes())

    def _on_nudge(self, sample: Any) -> None:
        self._server.on_nudge(sample)

    def _on_query(self, query: Any) -> None:
        self._server.on_query(query)


async def _pong(node: NodeId, payload: bytes) -> bytes:
    return b""
