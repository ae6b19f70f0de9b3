"""Who is a neighbour: from liveliness tokens, believed when the link's certificate says the same.

A token is ``m/<node id, base64url>/<tag>/<name>``; the tag (8 characters) is that of the neighbour's session.
A token can be here before its link is listed, and a first request before its sender's token: both are given
a little time.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from muster.network.transport.link import Neighbour, Unreachable, Urgency
from muster.network.transport.zenoh.config import SESSIONS_MAX
from muster.network.transport.zenoh.threads import SenderThread
from muster.network.trust.certificates import common_name
from muster.protocol.ids import NodeId

EARLY_REQUESTS_MAX = 64  # those whose sender's token has not arrived yet
_TOKEN_S = 3.0  # how long they wait for it
TWINS_S = 45.0  # longer than the engine's lease, after which the token of a process that died goes
_CHECKS_MAX = 400  # how often to look for the link of a token, every 0.05 s (opening takes 15 s at most)


@dataclass
class PeerSession:
    """One session of a neighbour, from its token's appearance to its end."""

    node: NodeId
    name: str
    tag: str
    since_s: float
    waiting: set[asyncio.Future[bytes]] = field(default_factory=set)
    serving: int = 0

    def __post_init__(self) -> None:
        self.senders = {
            urgency: SenderThread(f"muster-{self.name}-{urgency.name.lower()}") for urgency in Urgency
        }

    def end(self) -> None:
        for sender in self.senders.values():
            sender.close()
        for future in self.waiting:
            if not future.done():
                future.set_exception(Unreachable(f"the link to {self.name} was lost"))
                future.exception()  # an asker that gave up at this very moment does not look
        self.waiting.clear()


class PeerSessions:
    """Knows the neighbours of one node, across its sessions. Everything here runs on the loop.

    `links()` lists the session's links (with `zid` and `auth_identifier`), `changed(peer, up)` is called for
    every neighbour that comes or goes.
    """

    def __init__(
        self,
        node: NodeId,
        links: Callable[[], Iterable[Any]],
        changed: Callable[[PeerSession, bool], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._node = node
        self._links = links
        self._changed = changed
        self._on_problem = on_problem
        self._by_tag: dict[str, PeerSession] = {}
        self._current: dict[NodeId, PeerSession] = {}
        self._unchecked: set[str] = set()  # tokens whose link's certificate is not seen yet
        self._forbidden: set[NodeId] = set()
        self._early: dict[str, list[asyncio.Future[None]]] = {}
        self._rejected: dict[
            str, None
        ] = {}  # by when they were heard: tags of sessions that are no neighbours, and are not to be
        self.had_neighbours = False
        self._twins: dict[NodeId, tuple[str, ...]] = {}
        self._tokens: dict[str, NodeId] = {}  # by their tags, those of neighbours' sessions that are there

    def neighbours(self) -> dict[NodeId, Neighbour]:
        return {node: Neighbour(node, peer.name, peer.since_s) for node, peer in self._current.items()}

    def get(self, node: NodeId) -> PeerSession | None:
        """The present session of a neighbour."""
        return self._current.get(node)

    def by_tag(self, tag: str) -> PeerSession | None:
        return self._by_tag.get(tag)

    def forbid(self, node: NodeId) -> None:
        """From now on this node is no neighbour."""
        self._forbidden.add(node)
        peer = self._current.get(node)
        if peer is not None:
            self._reject(peer.tag)
            self._drop(peer)

    def _reject(self, tag: str) -> None:
        self._rejected[tag] = None
        if len(self._rejected) > SESSIONS_MAX:
            del self._rejected[next(iter(self._rejected))]

    def rejected(self, tag: str) -> bool:
        """Whether this session may talk to us and is no neighbour all the same."""
        if tag not in self._rejected:
            return False
        self._rejected[tag] = self._rejected.pop(tag)  # one that goes on talking is not forgotten
        return True

    def checking(self, tag: str) -> bool:
        """Whether this session's certificate is still being looked for."""
        return tag in self._unchecked

    def clear(self) -> None:
        """This node's session ends: so do all others' towards it."""
        self._unchecked.clear()
        self._tokens.clear()
        for peer in list(self._by_tag.values()):
            self._drop(peer)

    def token(self, key: str, gone: bool, own_tag: str) -> None:
        """A liveliness token appeared or went."""
        parts = key.split("/")
        if len(parts) != 4:
            return
        _, identifier, tag, name = parts
        if gone:
            self._tokens.pop(tag, None)
            self._unchecked.discard(tag)
            peer = self._by_tag.get(tag)
            if peer is not None:
                self._drop(peer)
            return
        try:
            node = base64.urlsafe_b64decode(identifier + "=")
        except ValueError:
            return
        if tag in self._by_tag or tag == own_tag or len(node) != 32:
            return
        if node == self._node:
            self._reject(tag)
            self._on_problem(
                "another process uses this node's bundle, in a copy of its home or elsewhere: the one that "
                "started first acts no more; give every node a bundle of its own ('muster fleet issue NAME')"
            )
            return
        if tag not in self._unchecked and len(self._unchecked) < SESSIONS_MAX:
            self._unchecked.add(tag)
            self._check(node, tag, name, _CHECKS_MAX)

    def _check(self, node: NodeId, tag: str, name: str, checks: int) -> None:
        """Take the neighbour when its link's certificate is the one of the node that it says it is."""
        if tag not in self._unchecked:
            return
        loop = asyncio.get_running_loop()
        for link in self._links():
            if str(link.zid).startswith(tag):
                self._unchecked.discard(tag)
                if link.auth_identifier != common_name(name, node):
                    self._on_problem(f"a neighbour calls itself {name!r} but is {link.auth_identifier!r}")
                    self._reject(tag)
                elif node in self._forbidden:
                    self._reject(tag)
                else:
                    self._add(PeerSession(node, name, tag, loop.time()))
                return
        if checks:
            loop.call_later(0.05, self._check, node, tag, name, checks - 1)
        else:
            self._unchecked.discard(tag)

    def _add(self, peer: PeerSession) -> None:
        old = self._current.get(peer.node)
        if old is not None:
            self._drop(old)
            self._reject(old.tag)  # it may go on talking: that is no half of a link
            asyncio.get_running_loop().call_later(TWINS_S, self._look_for_twins, old.tag, peer.tag)
        self._tokens[peer.tag] = peer.node
        self._by_tag[peer.tag] = peer
        self._current[peer.node] = peer
        self.had_neighbours = True
        for future in self._early.pop(peer.tag, ()):
            if not future.done():
                future.set_result(None)
        self._changed(peer, True)

    def twins(self) -> dict[NodeId, tuple[str, ...]]:
        """Neighbours of which two sessions are there at once, and the tags of these."""
        here = self._tokens.keys()
        self._twins = {node: tags for node, tags in self._twins.items() if here >= set(tags)}
        return self._twins

    def _look_for_twins(self, *tags: str) -> None:
        """Whether two sessions of one node are there: that of one which died is gone by now."""
        node = self._tokens.get(tags[0], b"")
        if node in self._current and all(tag in self._tokens for tag in tags):
            self._twins[node] = tags
            name = self._current[node].name
            self._on_problem(
                f"two processes use the bundle of {name}, one of them in a copy of its home or with a stolen "
                f"file: stop one, or have it revoked ('muster fleet revoke {name}')"
            )

    def _drop(self, peer: PeerSession) -> None:
        self._by_tag.pop(peer.tag, None)
        peer.end()
        if self._current.get(peer.node) is peer:
            del self._current[peer.node]
            self._changed(peer, False)

    async def wait_for_token(self, tag: str) -> PeerSession | None:
        """Wait a little for the token of a session whose first request overtook it."""
        if sum(map(len, self._early.values())) >= EARLY_REQUESTS_MAX:
            return None
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early.setdefault(tag, []).append(future)
        try:
            async with asyncio.timeout(_TOKEN_S):
                await future
        except TimeoutError:
            self._early.pop(tag, None)
        return self._by_tag.get(tag)
