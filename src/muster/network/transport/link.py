"""The link interface: what Muster asks of a network engine, between direct neighbours only.

Two implementations: `zenoh.link.ZenohLink` (real sockets), `simulation.virtual.link.SimLink` (virtual time).
Everything that crosses more than one hop is Muster's own store-and-forward above this.

Nothing here promises delivery.  `ask` either returns the answer or raises `Unreachable`; `nudge` may be
lost unnoticed.  Time is the running asyncio loop's clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from muster.protocol.ids import NodeId

REVOKED_TOPIC = "revoked"


class Unreachable(Exception):
    """The neighbour is not there, did not answer in time, or its link was lost meanwhile."""


class Refused(Exception):
    """The neighbour answered that it will not or cannot do this; the message says why."""


class Urgency(IntEnum):
    """Which queue a message takes: control passes bulk."""

    CONTROL = 0
    BULK = 1


@dataclass(frozen=True)
class Neighbour:
    """A direct, authenticated neighbour that is up now."""

    node: NodeId
    name: str
    since_s: float  # loop time at which it came up


Handler = Callable[[NodeId, bytes], Awaitable[bytes]]
Listener = Callable[[NodeId, bytes], None]
Watcher = Callable[[NodeId, bool], None]


class Link(Protocol):
    """Connects one node with its direct neighbours. Topics are short ASCII names ("records", "chunk")."""

    node: NodeId

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def neighbours(self) -> dict[NodeId, Neighbour]:
        """Who is up now; a hint, since a dead link is noticed only after a lease."""

    def forbid(self, node: NodeId, name: str, revocation: bytes) -> None:
        """A revoked member, and the name in its certificate: no neighbour from now on; what it sends is
        ignored, and nothing is sent to it but `revocation`, on REVOKED_TOPIC and in nobody's name."""

    def twins(self) -> set[NodeId]:
        """Neighbours of which two sessions are there at once: two processes use one bundle."""

    def tell_twins(self, node: NodeId, topic: str, payload: bytes) -> None:
        """Nudge both sessions of such a neighbour."""

    def watch(self, watcher: Watcher) -> None:
        """Call `watcher(node, up)` on the loop whenever a neighbour appears or goes."""

    async def ask(
        self,
        node: NodeId,
        topic: str,
        payload: bytes,
        *,
        timeout_s: float,
        urgency: Urgency = Urgency.CONTROL,
    ) -> bytes:
        """One request, one answer. Raises Unreachable or Refused. Answers are at most 64 KiB."""

    def serve(self, topic: str, handler: Handler) -> None:
        """Answer `ask`s on `topic`; a handler that raises Refused is reported to the asker as such."""

    def nudge(self, node: NodeId, topic: str, payload: bytes) -> None:
        """Send a neighbour something that it may miss; never blocks, never raises."""

    def listen(self, topic: str, listener: Listener) -> None:
        """Receive nudges on `topic`."""
