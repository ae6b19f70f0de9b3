"""One node's Zenoh session: it is opened, closed and replaced by a new one, all within limits of time.

Zenoh calls back in its own threads; everything passes into the loop through one `Inbox`, and what a former
session still sends is forgotten there.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import zenoh

from muster.errors import MusterError
from muster.network.transport.endpoints import Endpoint
from muster.network.transport.lan.interfaces import Interface
from muster.network.transport.zenoh.config import (
    REVOKED_KEY,
    LinkProfile,
    endpoint_of,
    free_endpoint,
    session_config,
)
from muster.network.transport.zenoh.dialling import Dialler
from muster.network.transport.zenoh.listening import LOOK_UP_S_MAX, Listening, ListeningPlaces
from muster.network.transport.zenoh.messages import BUSY, TAG_CHARS
from muster.network.transport.zenoh.scoped import ScopedEndpoints
from muster.network.transport.zenoh.threads import Inbox, call_limited
from muster.network.transport.zenoh.udp_ports import take_back
from muster.network.trust.identity import Identity

OPEN_S_MAX = 15.0
CLOSE_S_MAX = 2.0
RECLOSE_S_MAX = 0.5  # before the next session; closing waits for attempts to connect, which nobody needs
PORT_S_MAX = 40.0  # for the old session's port to become free; QUIC's idle time is 30 s
PORT_PAUSE_S = 0.5  # between attempts to open again meanwhile ...
REOPEN_S_MAX = 60.0  # ... and at most later
PORTS_TRIED_MAX = 8  # free ones that another program takes in the last moment

Callback: TypeAlias = Callable[[Any], None]


class ZenohSession:
    """Holds the session and its successors. What is to be called is called on the loop.

    `on_open` gets the id of each new session, in hexadecimal; `dialler` has others dialled by it.

    The session's key is its tag; its liveliness token is ``m/<node id, base64url>/<tag>/<name>``.
    """

    def __init__(
        self,
        identity: Identity,
        listen: list[Endpoint],
        connect: list[Endpoint],
        *,
        profile: LinkProfile,
        on_open: Callable[[str], None],
        on_problem: Callable[[str], None],
        on_query: Callback,
        on_sample: Callback,
        on_token: Callback,
        on_revoked: Callback,
    ) -> None:
        self._identity = identity
        self.profile = profile
        self._places = ListeningPlaces(listen)
        self.missing: list[Endpoint] = []  # addresses that this machine has not, to listen on
        self.connect = connect
        self._on_open = on_open
        self._on_problem = on_problem
        self._on_query, self._on_sample, self._on_token = on_query, on_sample, on_token
        self._on_revoked = on_revoked
        self.zenoh: Any = None
        self.tag = ""
        self.listening: list[Endpoint] = []
        self._token: Any = None
        self._generation = 0
        self._inbox = Inbox()
        self._old_port_held = False
        self.dialler = Dialler()
        self.scoped = ScopedEndpoints()
        self._opening = asyncio.Lock()  # one session after the other
        self.barred: dict[str, bytes] = {}  # by the common names of revoked certificates: what to tell them
        self._bars: frozenset[str] = frozenset()  # those that the present session bars
        self._informed: set[str] = set()  # ids of barred sessions that know it from the present session

    def token_key(self, tag: str) -> str:
        identifier = base64.urlsafe_b64encode(self._identity.node).decode().rstrip("=")
        return f"m/{identifier}/{tag}/{self._identity.name}"

    async def open(self) -> None:
        """Raises MusterError("port_in_use", "config", or "internal" after `OPEN_S_MAX`)."""
        for _ in range(PORTS_TRIED_MAX):
            listening = await self._listening()
            # The old session did not let go of its port: better another than none.
            points = [free_endpoint()] if self._old_port_held and listening.here else listening.here
            try:
                await self._open_on(points)
            except MusterError as error:
                # Two nodes that start at the same instant both see a port free: who binds it first has it.
                if error.code != "port_in_use" or not self._places.choose_others():
                    raise
            else:
                self._places.opened()
                self.missing = listening.missing
                return
        raise MusterError("port_in_use", "other programs take each free port first: start the node again")

    async def _open_on(self, listening: list[Endpoint]) -> None:
        session_id = f"{secrets.randbits(63) | 1 << 63:016x}"
        config = session_config(
            self._identity,
            listening,
            self.scoped.local(self.connect),
            session_id=session_id,
            scouting=self.dialler.settings(),
            profile=self.profile,
            barred=self.barred,
        )
        self._bars, self._informed = frozenset(self.barred), set()
        self._generation += 1
        self.tag = tag = session_id[:TAG_CHARS]
        post = self.poster()

        def opened() -> tuple[Any, Any]:
            session: Any = zenoh.open(config)
            try:
                ask, tell, live, revoked = (
                    zenoh.handlers.Callback(callback, indirect=False)
                    for callback in (
                        lambda query: post(self._on_query, query, _reply_busy),
                        lambda sample: post(self._on_sample, sample, _forget),
                        # Bounded by the neighbours, so that it always gets in.
                        lambda sample: post(self._on_token, sample, None),
                        lambda sample: post(self._on_revoked, sample, _forget),
                    )
                )
                session.declare_queryable(tag, ask, allowed_origin=zenoh.Locality.REMOTE)
                session.declare_subscriber(tag, tell, allowed_origin=zenoh.Locality.REMOTE)
                session.declare_subscriber(
                    f"{REVOKED_KEY}/{tag}", revoked, allowed_origin=zenoh.Locality.REMOTE
                )
                session.liveliness().declare_subscriber("m/*/*/*", live, history=True)
                # Last: whoever sees the token can ask at once.
                token = session.liveliness().declare_token(self.token_key(tag))
            except BaseException:
                session.close()
                raise
            return session, token

        try:
            self.zenoh, self._token = await call_limited(
                opened, OPEN_S_MAX, late=lambda both: both[0].close()
            )
        except zenoh.ZError as error:
            self.dialler.close()
            raise _open_error(str(error), listening) from error
        except TimeoutError as error:
            self.dialler.close()
            raise MusterError(
                "internal", f"the network engine did not open within {OPEN_S_MAX:.0f} s: start the node again"
            ) from error
        self.listening = listening
        self._on_open(session_id)

    async def shut(self, limit_s: float) -> None:
        """Close the session; returns after `limit_s` whatever happens."""
        session, token, self.zenoh, self._token = self.zenoh, self._token, None, None
        self._generation += 1
        self.dialler.close()
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

    async def reopen(self) -> None:
        """A new session on the same port; one that cannot be opened is tried again, for ever."""
        async with self._opening:
            await self._reopen()

    def lets_barred_pass(self) -> bool:
        """Whether a session is open that was opened before somebody was barred."""
        return self.zenoh is not None and self._bars != self.barred.keys()

    async def bar(self) -> None:
        """A new session in the place of one that lets somebody pass who is barred: the engine takes such
        rules only when a session opens. Until then nothing that comes in is heard."""
        while self.lets_barred_pass():
            self._generation += 1
            async with self._opening:
                if self.lets_barred_pass():
                    await self._reopen()

    async def tell_barred(self) -> None:
        """Tell those who are barred and linked with this node, once for each of their sessions."""

        def tell() -> None:
            for link in self.links():
                zid, revocation = str(link.zid), self.barred.get(link.auth_identifier)
                if revocation is not None and zid not in self._informed:
                    self._informed.add(zid)
                    self.zenoh.put(f"{REVOKED_KEY}/{zid[:TAG_CHARS]}", revocation)

        with contextlib.suppress(TimeoutError, zenoh.ZError):
            await call_limited(tell, CLOSE_S_MAX)

    async def _reopen(self) -> None:
        await self.shut(RECLOSE_S_MAX)
        if sum([take_back(point.host, point.port) for point in self.listening]):
            self._old_port_held = False
        began_s = asyncio.get_running_loop().time()
        pause_s = PORT_PAUSE_S
        while True:
            try:
                await self.open()
                return
            except MusterError as error:
                waited_s = asyncio.get_running_loop().time() - began_s
                if waited_s > PORT_S_MAX:
                    self._on_problem(f"the network engine does not open again: {error.sentence}")
                    pause_s = min(2 * pause_s, REOPEN_S_MAX)
            await asyncio.sleep(pause_s)

    def poster(self) -> Callable[[Callback, Any, Callback | None], None]:
        """A function that calls others on the loop, as `Inbox.post` does, as long as this session lasts."""
        loop, generation = asyncio.get_running_loop(), self._generation

        def post(function: Callback, item: Any, full: Callback | None) -> None:
            def arrive(item: Any) -> None:
                if generation == self._generation:
                    function(item)

            self._inbox.post(loop, arrive, item, full)

        return post

    async def can_listen_on_more(self) -> bool:
        """Whether an address that was missing is here now."""
        return bool(self.missing) and len((await self._listening()).missing) < len(self.missing)

    async def _listening(self) -> Listening:
        """Beside the loop: names are looked up. Raises MusterError("port_in_use")."""
        try:
            return await call_limited(self._places.now, LOOK_UP_S_MAX)
        except TimeoutError:
            return self._places.now(look_up=False)

    def port_on(self, interface: Interface) -> int:
        """The port on which those who hear this node on an interface can dial it there; 0: none."""
        for point in self.listening:
            v4 = any(":" not in address for address in interface.addresses)
            if point.host == "::" or point.host in interface.addresses or (point.host == "0.0.0.0" and v4):
                return point.port
        return 0

    def links(self) -> Iterable[Any]:
        """The session's links; none while it opens."""
        return self.zenoh.info.links() if self.zenoh is not None else ()

    async def far_ends(self) -> dict[Endpoint, str]:
        """The sessions (tags) at the far ends of all links, by address or by the name that was dialled."""
        with contextlib.suppress(TimeoutError, zenoh.ZError):
            links = await call_limited(self.links, CLOSE_S_MAX)
            ends = ((self.scoped.meant(endpoint_of(str(link.dst))), str(link.zid)) for link in links)
            return {end: session[:TAG_CHARS] for end, session in ends}
        return {}


def _reply_busy(query: Any) -> None:
    """In Zenoh's thread, when the loop does not keep up; a short answer at the query's own priority."""
    with contextlib.suppress(zenoh.ZError):
        query.reply(query.key_expr, BUSY)
    query.drop()


def _forget(item: Any) -> None:
    """A nudge that finds the inbox full is lost."""


def _open_error(reason: str, listening: list[Endpoint]) -> MusterError:
    where = ", ".join(map(str, listening))
    if "in use" in reason:
        return MusterError(
            "port_in_use",
            f"another program listens on {where} already: stop it, or give this node another port",
        )
    return MusterError("config", f"cannot listen on {where}: {reason.partition(' at /')[0]}")
