"""What a node does when this machine's networks change: hear who is there, listen there, leave what died."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from muster.network.supervisor import Pulse, Supervisor
from muster.network.transport.endpoints import Endpoint
from muster.network.transport.lan.beacon import fleet_tag
from muster.network.transport.lan.discovery import Discovery
from muster.network.transport.lan.interfaces import Changes, Interface, changes
from muster.network.transport.lan.netlink import InterfaceWatch
from muster.network.transport.members.own import own_endpoints
from muster.network.transport.sleep import duration, watch_sleep
from muster.network.transport.zenoh.config import dial_locator
from muster.network.transport.zenoh.messages import TAG_CHARS
from muster.network.transport.zenoh.peers import PeerSessions
from muster.network.transport.zenoh.session import ZenohSession
from muster.network.trust.identity import Identity
from muster.protocol.ids import NodeId

WAIT_S = 10.0  # between two looks for addresses to listen on

Loop = Callable[[Pulse], Coroutine[Any, Any, None]]


class LocalNetworks:
    """Belongs to one link. `answers` asks a neighbour, `renew` opens the session again, `say` tells people,
    `on_problem` what is wrong.

    `discovery`: whether to look for members by multicast.
    """

    def __init__(
        self,
        identity: Identity,
        session: ZenohSession,
        peers: PeerSessions,
        *,
        discovery: bool,
        answers: Callable[[NodeId], Awaitable[bool]],
        renew: Callable[[], Awaitable[None]],
        say: Callable[[str], None],
        on_problem: Callable[[str], None],
        supervisor: Supervisor,
    ) -> None:
        self._session, self._peers = session, peers
        self._answers, self._renew, self._say = answers, renew, say
        self._supervisor = supervisor
        self._session_id = ""
        self._settling = asyncio.Lock()
        self._watch = InterfaceWatch(self.changed)
        self._discovery: Discovery | None = None
        if discovery:
            self._discovery = Discovery(
                fleet_tag(identity.ca_certificate),
                identity.node[:8],
                linked=self._linked,
                links=lambda: len(peers.neighbours()),
                ready=lambda: session.dialler.ready,
                on_problem=on_problem,
                dial=lambda session_id, address, port: self.dial(session_id, Endpoint(address, port)),
            )
            self._discovery.interfaces(self._watch.now)

    def loops(self) -> dict[str, Loop]:
        """What is to be kept running, by name."""
        looks: dict[str, Loop] = {
            "looking at the interfaces": self._watch.run,
            "waiting for addresses to listen on": self._wait,
            "noticing sleep": partial(watch_sleep, self._woke),
        }
        return looks if self._discovery is None else looks | {"discovery": self._discovery.run}

    def opened(self, session_id: str) -> None:
        """The link has a new session."""
        self._session_id = session_id
        if self._discovery is not None:
            self._discovery.session(session_id, self._session.port_on)

    def neighbour(self, *, up: bool) -> None:
        """A neighbour came; or one went, and is perhaps heard on another network."""
        if self._discovery is not None:
            self._discovery.changed(up=up)

    def place(self) -> tuple[bytes, list[str]]:
        """The present session, and where others can dial it."""
        return bytes.fromhex(self._session_id), own_endpoints(self._session.listening, self._watch.now)

    def dial(self, session_id: str, point: Endpoint) -> None:
        """Have a member's session dialled; one to which there is a link is left alone."""
        if not self._linked(session_id):
            self._session.dialler.dial(session_id, dial_locator(point))

    def say_missing(self) -> None:
        for point in self._session.missing:
            self._say(f"waits for address {point.host} to listen on")

    def changed(self, before: tuple[Interface, ...], after: tuple[Interface, ...]) -> None:
        """This machine's interfaces are others than before; those without an address matter to nobody."""
        change = changes(before, after)
        if change is None:
            return
        self._say(change.sentence())
        if self._discovery is not None:
            self._discovery.interfaces(after)
        self._supervisor.once("looking at the links after a change of network", self._settle(change))

    async def _settle(self, change: Changes) -> None:
        """Listen on what is here now; leave links of which nothing comes any more.

        The engine takes orders to dial over loopback, which may come late as well.

        QUIC lets a link survive that this end dialled and whose address here changed; of one that the other
        end dialled it hears nothing for a lease, and nor does a link over an interface that is gone.
        """
        async with self._settling:  # a second change looks at what the first one left
            if await self._session.can_listen_on_more():
                await self._listen_on_more()
            elif not self._session.dialler.ready or (change.gone and not await self._all_answer()):
                await self._renew()

    async def _listen_on_more(self) -> None:
        await self._renew()
        self._say(f"listens on {', '.join(map(str, self._session.listening))}")
        self.say_missing()

    async def _wait(self, pulse: Pulse) -> None:
        """What no interface says: a name that gets an address later."""
        while True:
            pulse.renew(WAIT_S)
            await asyncio.sleep(WAIT_S)
            async with self._settling:
                if await self._session.can_listen_on_more():
                    await self._listen_on_more()

    async def _woke(self, slept_s: float) -> None:
        self._say(f"this machine slept for {duration(slept_s)}")
        async with self._settling:
            if not await self._all_answer():
                await self._renew()

    async def _all_answer(self) -> bool:
        return all(await asyncio.gather(*map(self._answers, self._peers.neighbours())))

    def _linked(self, session_id: str) -> bool:
        """Whether there is a link to this session, or is to be none."""
        tag = session_id[:TAG_CHARS]
        return self._peers.by_tag(tag) is not None or self._peers.checking(tag) or self._peers.rejected(tag)
